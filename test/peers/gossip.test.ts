import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { createInterface } from 'node:readline'
import { describe, type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { createGossipSource } from '../../agent/strategies/gossip.ts'
import type { Observation } from '../../core/member.ts'
import { gossipOptionsSchema } from '../../core/sources/gossip.ts'
import { openVoice } from '../agent/strategies/gossip-voice.ts'
import { createNetwork, type Host, missingNamespaces } from './namespaces.ts'
import { missingPrograms } from './programs.ts'
import { until } from './until.ts'

const NODE = fileURLToPath(new URL('gossip-node.ts', import.meta.url))
const SECRET = 'correct horse battery staple'

interface Happening {
  readonly at: number
  readonly type: string
  readonly node?: string
  readonly message?: string
}

/** Starts an agent on a host, which ends with the test. */
function startNode(t: TestContext, { address, enter }: Host, options: { gossip: object; policy?: object }) {
  const self = `app@${address}`
  const [program, ...args] = [...enter, process.execPath, NODE]
  const given = [self, JSON.stringify(options.gossip), JSON.stringify(options.policy ?? {})]
  const child = spawn(program, [...args, ...given], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.after(() => end(child))
  const happenings: Happening[] = []
  const more = new EventEmitter()
  createInterface(child.stdout).on('line', (line) => {
    happenings.push(JSON.parse(line))
    more.emit('more')
  })
  /** The first of its happenings since `at` that is one of this type (and about this node). */
  async function saw(type: string, { node, since = 0 }: { node?: string; since?: number } = {}): Promise<Happening> {
    for (;;) {
      const found = happenings.find((one) => one.at >= since && one.type === type && (node ?? one.node) === one.node)
      if (found !== undefined) return found
      await once(more, 'more')
    }
  }
  return { self, saw, happenings, say: (line: string) => child.stdin.write(`${line}\n`) }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'exit')
}

type Node = ReturnType<typeof startNode>

/** When the last of them and the others saw each other. */
async function linkedAt(nodes: readonly Node[], others: readonly Node[], since = 0): Promise<number> {
  const pairs = nodes.flatMap((one) => others.map((other) => [one, other] as const))
  const seen = await Promise.all(
    pairs.flatMap(([one, other]) => [
      one.saw('nodeup', { node: other.self, since }),
      other.saw('nodeup', { node: one.self, since }),
    ]),
  )
  return Math.max(...seen.map(({ at }) => at))
}

describe('gossip between three hosts', { skip: missingNamespaces() }, () => {
  const heartbeat = 1_000

  test('finds all within a heartbeat, keeps all while one is cut off, and has it back within two', {
    timeout: 90_000,
  }, async (t) => {
    const network = createNetwork(3)
    t.after(() => network.remove())
    const gossip = { heartbeat, secret: SECRET }
    // As the defaults stand to the default heartbeat: a wait for a dial lasts at most two of them.
    const policy = { maxWait: heartbeat, dialTimeout: heartbeat / 2 }
    const [hostA, hostB, hostC] = network.hosts
    assert.ok(hostA && hostB && hostC)
    const [a, b] = [startNode(t, hostA, { gossip, policy }), startNode(t, hostB, { gossip, policy })]
    await linkedAt([a], [b])
    const lost = startNode(t, hostC, { gossip, policy })
    const { at: startedAt } = await lost.saw('starting')
    const foundMs = (await linkedAt([lost], [a, b])) - startedAt
    assert.ok(foundMs <= heartbeat, `found after ${foundMs} ms`)

    const cutAt = Date.now()
    hostC.plug(false)
    for (const node of [a, b]) await node.saw('nodedown', { node: lost.self, since: cutAt })
    // As many heartbeats as 30 s of the default one.
    await until('6 heartbeats to pass', () => Date.now() - cutAt >= 6 * heartbeat)
    const joinedAt = Date.now()
    hostC.plug(true)
    const wholeMs = (await linkedAt([lost], [a, b], joinedAt)) - joinedAt
    assert.ok(wholeMs <= 2 * heartbeat, `whole after ${wholeMs} ms`)
    t.diagnostic(`found after ${foundMs} ms, whole after ${wholeMs} ms, with a heartbeat of ${heartbeat} ms`)

    const types = [a, b, lost].flatMap(({ happenings }) => happenings.map(({ type }) => type))
    assert.ok(!types.some((type) => /absent|forgotten|leaving|source_failed/.test(type)), types.join())
    assert.ok(types.includes('dial_failed'), 'expected the cut to be felt')
  })

  test('a node that leaves is let go, and stays away', { timeout: 60_000 }, async (t) => {
    const network = createNetwork(2)
    t.after(() => network.remove())
    const [one, other] = network.hosts.map((host) => startNode(t, host, { gossip: { heartbeat } }))
    assert.ok(one && other)
    await linkedAt([one], [other])
    one.say('leave')
    await one.saw('left')
    await other.saw('member_leaving', { node: one.self })
    const { at } = await other.saw('nodedown', { node: one.self })
    assert.ok(!other.happenings.some((happening) => happening.at > at && happening.type === 'nodeup'))
  })

  test('plain and secret nodes ignore each other, and each says so', { timeout: 60_000 }, async (t) => {
    const network = createNetwork(3)
    t.after(() => network.remove())
    const secrets = [{ secret: SECRET }, {}, { secret: SECRET }]
    const nodes = network.hosts.map((host, index) =>
      startNode(t, host, { gossip: { heartbeat: 250, ...secrets[index] } }),
    )
    const [one, plain, other] = nodes
    assert.ok(one && plain && other)
    await linkedAt([one], [other])
    const lines = await Promise.all(nodes.map(({ saw }) => saw('warning')))
    for (const { message } of lines) assert.match(message ?? '', /a node gossips with(out)? a secret/)
    assert.ok(!plain.happenings.some(({ type }) => type === 'nodeup'))
  })
})

/** libcluster's Gossip in a few lines of Erlang, after its wire format: says who it is twice a second, and prints whom it hears. */
const LIBCLUSTER = `
  [Port, Name, Minor, Secret] = init:get_plain_arguments(),
  Group = {233,252,1,32}, Loopback = {127,0,0,1},
  {ok, Socket} = gen_udp:open(list_to_integer(Port), [binary, {active, true}, {ip, {0,0,0,0}}, {reuseaddr, true},
    {broadcast, true}, {multicast_ttl, 1}, {multicast_loop, true}, {multicast_if, Loopback}, {add_membership, {Group, Loopback}}]),
  Key = crypto:hash(sha256, Secret),
  Seal = fun(Text) ->
    Iv = crypto:strong_rand_bytes(16),
    Fill = 16 - (byte_size(Text) rem 16),
    Padded = <<Text/binary, (binary:copy(<<Fill>>, Fill))/binary>>,
    <<Iv/binary, (crypto:crypto_one_time(aes_256_cbc, Key, Iv, Padded, true))/binary>>
  end,
  Open = fun(<<Iv:16/binary, Sealed/binary>>) ->
    Padded = crypto:crypto_one_time(aes_256_cbc, Key, Iv, Sealed, false),
    binary:part(Padded, 0, byte_size(Padded) - binary:last(Padded))
  end,
  Term = term_to_binary(#{node => list_to_atom(Name)}, [{minor_version, list_to_integer(Minor)}]),
  Plain = <<"heartbeat::", Term/binary>>,
  Loop = fun Loop() ->
    ok = gen_udp:send(Socket, Group, list_to_integer(Port), case Secret of "" -> Plain; _ -> Seal(Plain) end),
    Wait = fun Wait(Until) ->
      receive {udp, _, _, _, Packet} ->
        try
          <<"heartbeat::", Body/binary>> = case Secret of "" -> Packet; _ -> Open(Packet) end,
          #{node := Node} = binary_to_term(Body),
          true = is_atom(Node),
          io:format("heard ~s~n", [Node])
        catch _:_ -> io:format("odd ~p~n", [Packet]) end,
        Wait(Until)
      after max(0, Until - erlang:monotonic_time(millisecond)) -> ok end
    end,
    Wait(erlang:monotonic_time(millisecond) + 500),
    Loop()
  end,
  Loop().`

describe('libcluster on the same network', { skip: missingPrograms('erl') }, () => {
  const cases = [
    { minor: 1, secret: '', what: 'plain, in the atoms of OTP 25' },
    { minor: 2, secret: '', what: 'plain, in those of OTP 26' },
    { minor: 1, secret: SECRET, what: 'with a secret, in the atoms of OTP 25' },
    { minor: 2, secret: SECRET, what: 'with a secret, in those of OTP 26' },
  ]
  for (const { minor, secret, what } of cases) {
    test(`hears us and is heard: ${what}`, { timeout: 60_000 }, async (t) => {
      const { port } = await openVoice(t)
      const peer = `peer${minor}@127.0.0.1`
      const args = ['-noshell', '-noinput', '-eval', LIBCLUSTER, '-extra', String(port), peer, String(minor), secret]
      const erl = spawn('erl', args, { stdio: ['pipe', 'pipe', 'inherit'] })
      t.after(() => end(erl))
      const said: string[] = []
      createInterface(erl.stdout).on('line', (line) => said.push(line))

      const options = { port, interface: '127.0.0.1', wire: 'libcluster', heartbeat: 250, ...(secret && { secret }) }
      const ended = new AbortController()
      t.after(() => ended.abort())
      const log = { debug() {}, info() {}, warn: (_fields: object, line: string) => said.push(line), error() {} }
      const context = { source: 'gossip', self: 'us@127.0.0.1', signal: ended.signal, now: Date.now, log, fetch }
      const source = createGossipSource()
      let observation: Observation | undefined
      for await (observation of source.watch?.(gossipOptionsSchema.parse(options), context) ?? []) {
        // With each heartbeat comes one, whether or not it is news.
        if (observation.members?.length && said.includes('heard us@127.0.0.1')) break
      }
      assert.deepEqual(observation?.members, [{ node: peer, status: 'up' }])
      assert.deepEqual(
        said.filter((line) => !line.startsWith('heard ')),
        [],
      )
    })
  }
})
