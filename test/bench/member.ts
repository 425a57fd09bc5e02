import { fork } from 'node:child_process'
import { once } from 'node:events'
import { type Epmd, startEpmd, startErl } from '../peers/erlang.ts'
import { missingPrograms } from '../peers/programs.ts'
import { lineOf, startNode } from './child.ts'
import { type Figure, formatMs, median, type Skipped } from './figure.ts'
import type { Order } from './member-peer.ts'

const COOKIE = 'bench'
const MESH_SIZE = 100
const MESH_ROUNDS = 3
const CONNECTS = { rounds: 200, warmup: 200 }
const CALLS = { rounds: 21, warmup: 10, count: 512 }
const IN_FLIGHT = 64

/** Members beside BEAM nodes, each in a process of its own, with two BEAM nodes as the floor; and a whole mesh in one process. */
export async function memberFigures({ root }: { root: string }): Promise<(Figure | Skipped)[]> {
  const missing = missingPrograms('erl')
  const pairs = missing === false ? await pairFigures(root) : [{ name: 'members and BEAM nodes', skipped: missing }]
  return [...pairs, ...(await meshFigures(root))]
}

/** One node in a process of its own. */
interface Participant {
  readonly name: string
  /** Gives how long it took there, in ms. */
  run(order: Order): Promise<number>
  end(): Promise<void>
}

interface Pair {
  readonly kind: string
  readonly from: Participant
  readonly to: Participant
  /** In ms. */
  readonly connects: number[]
  readonly trips: number[]
  /** In calls per second. */
  readonly rates: number[]
}

async function pairFigures(root: string): Promise<Figure[]> {
  const epmd = await startEpmd({ address: '127.0.0.1' })
  const started: Participant[] = []
  const start = async (participant: Promise<Participant>) => {
    started.push(await participant)
    return await participant
  }
  try {
    const [erl, erl2] = [await start(startBeam('erl', epmd)), await start(startBeam('erl2', epmd))]
    const [js, js2] = [await start(startPeer('js', epmd, root)), await start(startPeer('js2', epmd, root))]
    const floor = pairOf('erl to erl', erl, erl2)
    const subjects = [pairOf('JS to erl', js, erl), pairOf('erl to JS', erl, js), pairOf('JS to JS', js, js2)]
    const pairs = [floor, ...subjects]
    for (let round = -CONNECTS.warmup; round < CONNECTS.rounds; round++) {
      for (const pair of pairs) {
        const ms = await connectMs(pair)
        if (round >= 0) pair.connects.push(ms)
      }
    }
    const { count } = CALLS
    for (const { from, to } of pairs) await link(from, to)
    for (let round = -CALLS.warmup; round < CALLS.rounds; round++) {
      for (const { from, to, trips, rates } of pairs) {
        const inTurnMs = await from.run({ type: 'call', peer: to.name, count, width: 1 })
        const atOnceMs = await from.run({ type: 'call', peer: to.name, count: 8 * count, width: IN_FLIGHT })
        if (round < 0) continue
        trips.push(inTurnMs / count)
        rates.push((8 * count) / (atOnceMs / 1000))
      }
    }
    return [
      ...subjects.map((pair) => timeFigure(`connect, ${pair.kind}`, pair.connects, floor.connects, 1)),
      ...subjects.map((pair) => timeFigure(`rpc round trip, ${pair.kind}`, pair.trips, floor.trips)),
      ...subjects.map((pair) => rateFigure(`rpc/s, ${IN_FLIGHT} in flight, ${pair.kind}`, pair.rates, floor.rates)),
    ]
  } finally {
    for (const participant of started) await participant.end()
    await epmd.stop()
  }
}

function pairOf(kind: string, from: Participant, to: Participant): Pair {
  return { kind, from, to, connects: [], trips: [], rates: [] }
}

/** From no link to a link; it ends again outside of the time. */
async function connectMs({ from, to }: Pair): Promise<number> {
  const ms = await link(from, to)
  await from.run({ type: 'disconnect', peer: to.name })
  // Else the next dial would meet the old link.
  await see(from, to, false)
  return ms
}

async function link(from: Participant, to: Participant): Promise<number> {
  const ms = await from.run({ type: 'connect', peer: to.name })
  await see(from, to, true)
  return ms
}

/** Until both have, or have no more, the link. */
async function see(from: Participant, to: Participant, up: boolean): Promise<void> {
  await Promise.all([from.run({ type: 'see', peer: to.name, up }), to.run({ type: 'see', peer: from.name, up })])
}

async function startPeer(basename: string, epmd: Epmd, root: string): Promise<Participant> {
  const name = `${basename}@127.0.0.1`
  const child = fork('test/bench/member-peer.ts', [name, COOKIE, String(epmd.port)], { cwd: root })
  const ended = once(child, 'exit')
  const answer = () => Promise.race([once(child, 'message'), ended.then(([code]) => failed(name, code))])
  await answer()
  return {
    name,
    async run(order) {
      const answered = answer()
      child.send(order)
      return Number((await answered)[0])
    },
    async end() {
      child.kill('SIGKILL')
      await ended
    },
  }
}

function failed(name: string, code: unknown): never {
  throw new Error(`${name} ended with ${String(code)}`)
}

// Compiled on the node that it runs at, for the shell's interpreter would be measured else. A node is in sys_dist until
// net_kernel has done with its link, and so for longer than in nodes().
const BENCH = `
  Forms = [element(2, erl_parse:parse_form(element(2, erl_scan:string(Form ++ ".")))) || Form <- [
    "-module(bench)", "-export([one/0, time/1, connect/1, disconnect/1, see/2, call/3])",
    "one() -> 1",
    "time(Work) -> Start = erlang:monotonic_time(), Work(), erlang:convert_time_unit(erlang:monotonic_time() - Start, native, nanosecond)",
    "connect(Peer) -> true = net_kernel:connect_node(Peer)",
    "disconnect(Peer) -> true = erlang:disconnect_node(Peer)",
    "see(Peer, Up) -> case {lists:member(Peer, nodes(connected)), ets:member(sys_dist, Peer)} of
       {Up, Up} -> ok; _ -> receive after 1 -> see(Peer, Up) end end",
    "call(Peer, Count, 1) -> in_turn(Peer, Count);
     call(Peer, Count, Width) ->
       Started = [spawn_monitor(fun() -> in_turn(Peer, Count div Width) end) || _ <- lists:seq(1, Width)],
       [receive {'DOWN', Ref, process, Pid, normal} -> ok end || {Pid, Ref} <- Started]",
    "in_turn(_, 0) -> ok; in_turn(Peer, Count) -> 1 = erpc:call(Peer, bench, one, []), in_turn(Peer, Count - 1)"]],
  {ok, bench, Code} = compile:forms(Forms),
  {module, bench} = code:load_binary(bench, "bench", Code), ok`

/** A hidden node, as members are: `global`, which speaks with each visible one, would be measured too. */
async function startBeam(basename: string, epmd: Epmd): Promise<Participant> {
  const name = `${basename}@127.0.0.1`
  const node = await startErl({ name, cookie: COOKIE, epmdPort: epmd.port, flags: ['-hidden'] })
  const participant: Participant = {
    name,
    run: async (order) => Number(await node.evaluate(`bench:time(fun() -> ${expressionOf(order)} end)`)) / 1e6,
    end: () => node.kill(),
  }
  try {
    await node.evaluate(BENCH)
    return participant
  } catch (error) {
    await participant.end()
    throw error
  }
}

function expressionOf(order: Order): string {
  const peer = `'${order.peer}'`
  if (order.type === 'see') return `bench:see(${peer}, ${order.up})`
  if (order.type === 'call') return `bench:call(${peer}, ${order.count}, ${order.width})`
  return `bench:${order.type}(${peer})`
}

function timeFigure(name: string, subjects: readonly number[], floors: readonly number[], atMost?: number): Figure {
  const [subject, floor] = [median(subjects), median(floors)]
  const aim = atMost === undefined ? {} : { aim: { atMost } }
  return { name, subject: formatMs(subject), floor: formatMs(floor), value: subject / floor, unit: 'x', ...aim }
}

function rateFigure(name: string, subjects: readonly number[], floors: readonly number[]): Figure {
  const [subject, floor] = [median(subjects), median(floors)]
  const [shown, shownFloor] = [`${subject.toFixed(0)}/s`, `${floor.toFixed(0)}/s`]
  return { name, subject: shown, floor: shownFloor, value: subject / floor, unit: 'x' }
}

/** How long it takes until 100 members in one process are all linked; the floor is as many bare TCP connections there. */
async function meshFigures(root: string): Promise<Figure[]> {
  const child = startNode(['test/bench/member-mesh.ts', String(MESH_SIZE), String(MESH_ROUNDS)], { root })
  try {
    const printed = await lineOf(child, /^[\d.]+ [\d.]+ [\d.]+$/)
    const [oneDials = 0, bothDial = 0, bare = 0] = printed.split(' ').map(Number)
    const name = `${MESH_SIZE} members in one process, time to full`
    return [
      timeFigure(`${name}, one of each pair dials`, [oneDials], [bare]),
      timeFigure(`${name}, both dial`, [bothDial], [bare]),
    ]
  } finally {
    await child.end()
  }
}
