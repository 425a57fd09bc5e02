import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { NodeName } from '../../../core/node.ts'
import { type Epmd, type Peer, startEpmd, startErl } from '../erlang.ts'
import type { Host } from '../namespaces.ts'
import { type LogEntry, type Rollcall, startRollcall } from './rollcall.ts'
import { AGENT_PORT, BASENAME, COOKIE, EPMD_PORT, INTERVAL_MS, POLICY, TICK_TIME_S, TOPOLOGY } from './settings.ts'

/** A link that ended, as one of its two ends saw it. */
export interface Loss {
  readonly at: number
  readonly by: NodeName
  readonly of: NodeName
  readonly why: string
}

/** What runs on a host for its node. A member is its own agent and its own epmd. */
export type Part = 'erl' | 'agent' | 'epmd'

/** What the process of a part is called. */
export function programOf({ kind }: Pick<ChaosNode, 'kind'>, part: Part): string {
  if (part !== 'agent') return part
  return kind === 'member' ? 'member' : 'sidecar'
}

/** A node of the mesh on a host of its own. */
export interface ChaosNode {
  readonly name: NodeName
  readonly host: Host
  readonly kind: 'erlang' | 'member'
  /** The kinds of source that its agent asks. */
  readonly sources: readonly string[]
  /** Whom it is linked to now, by what the node itself says and not its agent. */
  links(): Promise<ReadonlySet<NodeName>>
  /** Whom its agent sees linked. */
  readonly told: ReadonlySet<NodeName>
  /** Whether its epmd knows it; false where none answers. */
  isRegistered(): Promise<boolean>
  /** The links that it lost since it was asked last. */
  takeLosses(): Promise<Loss[]>
  /** The process ids of what runs. */
  readonly pids: ReadonlyMap<Part, number>
  log(): string
  kill(part: Part): Promise<void>
  start(part: Part): Promise<void>
  /** Calls back at each line of the agent's log; gives the undo. */
  onLog(listener: (entry: LogEntry) => void): () => void
  end(): Promise<void>
}

export interface NodeOptions {
  readonly host: Host
  readonly folder: string
  readonly sources: readonly object[]
  /** Where the agent keeps its state. */
  readonly state: string
}

export const nodeOn = ({ address }: Host): NodeName => `${BASENAME}@${address}`

// What it forgets is told in `nodedown` for each link, also those that come and go between two looks of its agent.
const WATCH = `
  Up = self(),
  Keeper = spawn(fun() ->
    ok = net_kernel:monitor_nodes(true, [{node_type, all}, nodedown_reason]), Up ! watching,
    (fun Loop(Lost) -> receive
      {nodedown, Node, Info} ->
        Loop([{erlang:system_time(millisecond), Node, proplists:get_value(nodedown_reason, Info)} | Lost]);
      {take, From} -> From ! {lost, lists:reverse(Lost)}, Loop([]);
      _ -> Loop(Lost)
    end end)([])
  end),
  register(losses, Keeper), receive watching -> ok end`
const TAKE = `losses ! {take, self()}, receive {lost, Lost} -> [lists:flatten(io_lib:format("~w ~s ~0p", [At, Node, Why])) || {At, Node, Why} <- Lost] end`

// Five of them on two cores: to wait must cost nothing.
const IDLE = ['+S', '1:1', '+sbwt', 'none', '+sbwtdcpu', 'none', '+sbwtdio', 'none']
const FLAGS = ['-kernel', 'net_ticktime', String(TICK_TIME_S), ...IDLE]

// A sidecar that looks why its node was turned away shakes hands as another: `rollcall-app@…`.
const isOfMesh = (node: unknown): node is NodeName => typeof node === 'string' && node.startsWith(`${BASENAME}@`)

/** Keeps the set of those that the events of an agent say are linked. */
function follow(told: Set<NodeName>, { type, node }: LogEntry): void {
  if (!isOfMesh(node)) return
  if (type === 'nodeup') told.add(node)
  if (type === 'nodedown') told.delete(node)
}

/** Not while this process waits: the epmd may be writing to it. */
async function isRegistered({ enter }: Host): Promise<boolean> {
  const [program, ...args] = [...enter, 'epmd', '-port', String(EPMD_PORT), '-names']
  try {
    const { stdout } = await promisify(execFile)(program, args)
    return stdout.includes(`name ${BASENAME} at port `)
  } catch (error) {
    // Nobody answered.
    if ((error as { code?: unknown }).code === 1) return false
    throw error
  }
}

async function writeConfig(mode: 'sidecar' | 'member', { host, folder, sources, state }: NodeOptions): Promise<string> {
  const file = join(folder, `${host.address}.json`)
  const config = {
    node: nodeOn(host),
    distribution: { beam: { mode, cookie: COOKIE } },
    topologies: { [TOPOLOGY]: { interval: INTERVAL_MS, sources, policy: POLICY } },
    agent: { listen: `${host.address}:${AGENT_PORT}`, state },
    // A member tells of each link that ends at this level.
    log: { level: 'debug' },
  }
  await writeFile(file, JSON.stringify(config))
  return file
}

/** Starts an Erlang node with its epmd and its sidecar. */
export async function startErlang(options: NodeOptions): Promise<ChaosNode> {
  const { host } = options
  const name = nodeOn(host)
  const file = await writeConfig('sidecar', options)
  const pids = new Map<Part, number>()
  const listeners = new Set<(entry: LogEntry) => void>()
  const told = new Set<NodeName>()
  let epmd: Epmd | undefined
  let peer: Peer | undefined
  let agent: Rollcall | undefined

  function onLog(entry: LogEntry): void {
    follow(told, entry)
    for (const listener of listeners) listener(entry)
  }

  async function start(part: Part): Promise<void> {
    if (part === 'epmd') {
      epmd = await startEpmd({ port: EPMD_PORT, address: host.address, enter: host.enter })
      pids.set(part, epmd.pid)
    } else if (part === 'erl') {
      peer = await startErl({ name, cookie: COOKIE, epmdPort: EPMD_PORT, flags: FLAGS, enter: host.enter })
      await peer.evaluate(WATCH)
      pids.set(part, peer.pid)
    } else {
      const upAt = 'answers /healthz, /readyz, /metrics and /v1/plan'
      agent = await startRollcall(['--config', file, 'agent'], { host, onLog, upAt })
      pids.set(part, agent.pid)
    }
  }

  async function kill(part: Part): Promise<void> {
    pids.delete(part)
    if (part === 'epmd') await epmd?.stop()
    else if (part === 'erl') await peer?.kill()
    else {
      await agent?.kill()
      told.clear()
    }
  }

  async function ask(expression: string): Promise<string> {
    if (peer === undefined) throw new Error(`${name} does not run`)
    return await peer.evaluate(expression)
  }

  for (const part of ['epmd', 'erl', 'agent'] as const) await start(part)
  return {
    name,
    host,
    kind: 'erlang',
    sources: options.sources.flatMap(Object.keys),
    pids,
    told,
    isRegistered: () => isRegistered(host),
    links: async () => new Set([...(await ask('nodes(connected)')).matchAll(OTHERS)].map(([, node = '']) => node)),
    async takeLosses() {
      const lines = [...(await ask(TAKE)).matchAll(/"(\d+) (app@\S+) ((?:[^"\\]|\\.)*)"/g)]
      return lines.map(([, at, of = '', why = '']) => ({ at: Number(at), by: name, of, why }))
    },
    log: () => `${agent?.log()}\n${peer?.output().slice(-2_000)}`,
    kill,
    start,
    onLog(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    async end() {
      await agent?.kill()
      await peer?.kill()
      await epmd?.stop()
    },
  }
}

// The sidecars' own connections have other names.
const OTHERS = /'(app@[\d.]+)'/g

/** Starts a member: node, agent and epmd in one process. */
export async function startMember(options: NodeOptions): Promise<ChaosNode> {
  const { host } = options
  const name = nodeOn(host)
  const file = await writeConfig('member', options)
  const pids = new Map<Part, number>()
  const listeners = new Set<(entry: LogEntry) => void>()
  const links = new Set<NodeName>()
  let losses: Loss[] = []
  let agent: Rollcall | undefined

  function onLog(entry: LogEntry): void {
    follow(links, entry)
    const { node: of, msg, message, time } = entry
    if (isOfMesh(of) && msg === 'a link ended') {
      losses.push({ at: Date.parse(String(time)), by: name, of, why: String(message) })
    }
    for (const listener of listeners) listener(entry)
  }

  async function start(): Promise<void> {
    agent = await startRollcall(['--config', file, 'agent'], { host, onLog, upAt: 'is a node of the mesh' })
    pids.set('agent', agent.pid)
  }

  await start()
  return {
    name,
    host,
    kind: 'member',
    sources: options.sources.flatMap(Object.keys),
    pids,
    told: links,
    isRegistered: () => isRegistered(host),
    links: async () => links,
    async takeLosses() {
      const taken = losses
      losses = []
      return taken
    },
    log: () => agent?.log() ?? '',
    async kill() {
      pids.delete('agent')
      await agent?.kill()
      links.clear()
    },
    start,
    onLog(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    async end() {
      await agent?.kill()
    },
  }
}
