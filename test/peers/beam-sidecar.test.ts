import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { after, before, suite, type TestContext, test } from 'node:test'
import { atom } from '../../agent/beam/etf.ts'
import { dial } from '../../agent/beam/dial.ts'
import { createNode } from '../../agent/beam/node.ts'
import { call } from '../../agent/beam/rpc.ts'
import { systemClock } from '../../agent/clock.ts'
import { createBeamDistribution } from '../../agent/distributions/beam.ts'
import type { Distribution } from '../../agent/distributions/distribution.ts'
import type { BeamConfig } from '../../core/config.ts'
import { type Epmd, freePort, type Peer, type PeerOptions, startElixir, startEpmd, startErl } from './erlang.ts'
import { missingPrograms } from './programs.ts'

const cookie = 'secret'
const quiet = { debug() {}, info() {}, warn() {}, error() {} }
const signal = new AbortController().signal
const absent = { reason: 'absent', signal } as const
const leaving = { reason: 'leaving', signal } as const

suite('A sidecar', { skip: missingPrograms('erl'), timeout: 120_000 }, () => {
  let epmd: Epmd
  let names = 0
  before(async () => {
    epmd = await startEpmd()
  })
  after(() => epmd.stop())

  /** Starts nodes on hosts of their own, and ends them after the test. */
  async function start(t: TestContext, count: number, options: Partial<PeerOptions> = {}): Promise<Peer[]> {
    const starting = Array.from({ length: count }, (_, index) => {
      const name = `n${++names}@127.0.0.${2 + index}`
      return startErl({ name, cookie, epmdPort: epmd.port, ...options })
    })
    const peers = await Promise.all(starting)
    t.after(() => Promise.all(peers.map((peer) => peer.kill())))
    return peers
  }

  function sidecar(
    t: TestContext,
    peer: { node: string },
    config: Partial<BeamConfig> = {},
    now = Date.now,
  ): Distribution {
    const settings: BeamConfig = { mode: 'sidecar', cookie, epmd: { port: epmd.port }, ...config }
    const distribution = createBeamDistribution(settings, {
      self: peer.node,
      log: quiet,
      clock: { ...systemClock, now },
    })
    t.after(() => distribution.close())
    return distribution
  }

  /** Puts a name into the epmd that nobody answers for. */
  async function register(t: TestContext, name: string, port: number): Promise<void> {
    const body = [120, port >> 8, port & 255, 77, 0, 0, 6, 0, 6, 0, name.length, ...Buffer.from(name), 0, 0]
    const socket = connect(epmd.port, '127.0.0.1')
    t.after(() => socket.destroy())
    socket.write(Buffer.from([0, body.length, ...body]))
    const [answer] = (await once(socket, 'data')) as [Buffer]
    assert.deepEqual([...answer.subarray(0, 2)], [118, 0])
  }

  /** Resolves when the visible links of `peer` are these; it looks by itself. */
  async function linked(peer: Peer, others: readonly Peer[]): Promise<void> {
    const wanted = `lists:sort([${others.map(({ node }) => `'${node}'`).join(',')}])`
    const loop = `Wait = fun Wait() -> case lists:sort(nodes()) of Wanted -> ok; _ -> receive after 5 -> Wait() end end end, Wait()`
    assert.equal(await peer.evaluate(`Wanted = ${wanted}, ${loop}`), 'ok')
  }

  async function mesh(peers: readonly Peer[]): Promise<void> {
    const [first, ...others] = peers
    for (const { node } of others) assert.equal(await first?.evaluate(`net_kernel:connect_node('${node}')`), 'true')
    await whole(peers)
  }

  async function whole(peers: readonly Peer[]): Promise<void> {
    await Promise.all(
      peers.map((peer) =>
        linked(
          peer,
          peers.filter((other) => other !== peer),
        ),
      ),
    )
  }

  test('connects its node, lists its links without itself, and is hidden under one stable name', async (t) => {
    const [a, b, hidden] = [...(await start(t, 2)), ...(await start(t, 1, { flags: ['-hidden'] }))] as [
      Peer,
      Peer,
      Peer,
    ]
    const distribution = sidecar(t, a)
    assert.equal(distribution.self, a.node)
    assert.deepEqual(await distribution.list(), [])
    await distribution.connect(b.node, { signal })
    await distribution.connect(b.node, { signal })
    await distribution.connect(hidden.node, { signal })
    assert.deepEqual((await distribution.list()).sort(), [b.node, hidden.node].sort())
    assert.equal(await a.evaluate('nodes()'), `['${b.node}']`)
    assert.match(await a.evaluate('nodes(hidden)'), new RegExp(`'rollcall-${a.node}'`))
    assert.equal(await b.evaluate('nodes(connected)'), `['${a.node}']`)
  })

  test('tells each link that comes and goes, by whoever it was made', async (t) => {
    const [a, b, c] = (await start(t, 3)) as [Peer, Peer, Peer]
    await mesh([a, b])
    const changes = sidecar(t, a).changes?.(signal)[Symbol.asyncIterator]()
    assert.deepEqual((await changes?.next())?.value, { node: b.node, up: true })
    await c.evaluate(`net_kernel:connect_node('${a.node}')`)
    assert.deepEqual((await changes?.next())?.value, { node: c.node, up: true })
    await c.kill()
    assert.deepEqual((await changes?.next())?.value, { node: c.node, up: false })
    await changes?.return?.()
  })

  test('its stream of changes ends with its signal and with close', async (t) => {
    const [a] = (await start(t, 1)) as [Peer]
    const distribution = sidecar(t, a)
    const stop = new AbortController()
    const first = distribution.changes?.(stop.signal)[Symbol.asyncIterator]().next()
    const second = distribution.changes?.(signal)[Symbol.asyncIterator]().next()
    await distribution.list()
    stop.abort()
    assert.equal((await first)?.done, true)
    await distribution.close()
    assert.equal((await second)?.done, true)
    await assert.rejects(distribution.list(), { code: 'closed' })
  })

  for (const size of [3, 4]) {
    test(`takes one node out of a mesh of ${size}, ten times of ten, and the others stay linked`, async (t) => {
      const peers = await start(t, size)
      const [a, b, ...others] = peers as [Peer, Peer, ...Peer[]]
      let now = Date.now()
      const distribution = sidecar(t, a, {}, () => now)
      await mesh(peers)
      // A link that drops, even for a moment, is seen.
      const watch = `spawn(fun() -> register(drops, self()), net_kernel:monitor_nodes(true), W = fun W(N) -> receive {nodedown, _} -> W(N + 1); {get, P} -> P ! {drops, N}, W(N); _ -> W(N) end end, W(0) end), ok`
      for (const peer of [a, ...others]) await peer.evaluate(watch)
      for (let round = 1; round <= 10; round++) {
        await distribution.disconnect(b.node, absent)
        await Promise.all([linked(b, []), whole([a, ...others])])
        now += 61_000
        await distribution.connect(b.node, { signal })
        await whole(peers)
        // Its own drop of b, and nothing else.
        for (const peer of [a, ...others]) {
          assert.equal(await peer.evaluate('drops ! {get, self()}, receive {drops, N} -> N end'), String(round))
        }
      }
    })
  }

  test('leaves a node that has an agent to that agent, except one that is leaving', async (t) => {
    const [a, b, c] = (await start(t, 3)) as [Peer, Peer, Peer]
    const [distribution, other] = [sidecar(t, a), sidecar(t, b)]
    await mesh([a, b, c])
    await other.list()
    await assert.rejects(distribution.disconnect(b.node, absent), { code: 'disputed' })
    assert.deepEqual((await distribution.list()).sort(), [b.node, c.node].sort())
    await distribution.disconnect(b.node, leaving)
    await Promise.all([linked(b, []), whole([a, c])])
  })

  test('may take out a node again whose agent has ended', async (t) => {
    const [a, b] = (await start(t, 2)) as [Peer, Peer]
    const [distribution, other] = [sidecar(t, a), sidecar(t, b)]
    await mesh([a, b])
    await other.list()
    await assert.rejects(distribution.disconnect(b.node, absent), { code: 'disputed' })
    const ended = b.evaluate('monitor(process, rollcall_agent), receive {_, _, _, _, Reason} -> Reason end')
    await b.evaluate('ok')
    await other.close()
    assert.equal(await ended, 'noconnection')
    await distribution.disconnect(b.node, absent)
    await linked(b, [])
  })

  test('cuts a hidden node by its one connection', async (t) => {
    const [a, b, c] = (await start(t, 3)) as [Peer, Peer, Peer]
    const [hidden] = (await start(t, 1, { flags: ['-hidden'] })) as [Peer]
    await mesh([a, b, c])
    const distribution = sidecar(t, a)
    await distribution.connect(hidden.node, { signal })
    await distribution.disconnect(hidden.node, absent)
    assert.deepEqual((await distribution.list()).sort(), [b.node, c.node].sort())
    await whole([a, b, c])
  })

  test('does not cut a node that is not linked, and not one that cannot be asked', async (t) => {
    const [a, b, c] = (await start(t, 3)) as [Peer, Peer, Peer]
    await mesh([b, c])
    const distribution = sidecar(t, a)
    await distribution.disconnect(b.node, absent)
    await whole([b, c])
    await distribution.connect(b.node, { signal })
    await whole([a, b, c])
    await b.evaluate("erlang:set_cookie(node(), other), erlang:set_cookie('rollcall-x@127.0.0.9', secret)")
    await assert.rejects(distribution.disconnect(b.node, absent), { code: 'peer_not_asked', message: /cookie/ })
    await whole([a, b, c])
  })

  test('waits longer each time that somebody brings back the node that it took out', async (t) => {
    const [a, b, c] = (await start(t, 3)) as [Peer, Peer, Peer]
    let now = Date.now()
    const warnings: object[] = []
    const log = { ...quiet, warn: (fields: object) => void warnings.push(fields) }
    const config: BeamConfig = { mode: 'sidecar', cookie, epmd: { port: epmd.port } }
    const distribution = createBeamDistribution(config, {
      self: a.node,
      log,
      clock: { ...systemClock, now: () => now },
    })
    t.after(() => distribution.close())
    const changes = distribution.changes?.(signal)[Symbol.asyncIterator]()
    const comes = async (up: boolean) => {
      for (;;) {
        const change = (await changes?.next())?.value as { node: string; up: boolean }
        if (change.node === b.node && change.up === up) return
      }
    }
    await mesh([a, b, c])
    await comes(true)
    for (const waitMs of [60_000, 120_000, 240_000]) {
      await distribution.disconnect(b.node, absent)
      await comes(false)
      await whole([a, c])
      now += 30_000
      await c.evaluate(`net_kernel:connect_node('${b.node}')`)
      await comes(true)
      await whole([a, b, c])
      assert.deepEqual(warnings.pop(), { node: b.node, waitMs })
      now += waitMs - 30_001
      await assert.rejects(distribution.disconnect(b.node, absent), { code: 'eviction_undone', retryAfterMs: 1 })
      now += 1
    }
    await changes?.return?.()
  })

  test('leave takes its own node out, and the others stay linked', async (t) => {
    const [a, b, c] = (await start(t, 3)) as [Peer, Peer, Peer]
    await mesh([a, b, c])
    const distribution = sidecar(t, a)
    await distribution.leave()
    await Promise.all([linked(a, []), whole([b, c])])
    assert.deepEqual(await distribution.list(), [])
  })

  test('leave takes out a hidden node too', async (t) => {
    const [a, b] = (await start(t, 2)) as [Peer, Peer]
    const [hidden] = (await start(t, 1, { flags: ['-hidden'] })) as [Peer]
    await mesh([a, b])
    const distribution = sidecar(t, hidden)
    await distribution.connect(a.node, { signal })
    await distribution.leave()
    assert.deepEqual(await distribution.list(), [])
    await whole([a, b])
  })

  test('leave closes the links to hidden members, which global leaves alone, and no other hidden link', async (t) => {
    const [a] = (await start(t, 1)) as [Peer]
    const [member, shell] = (await start(t, 2, { flags: ['-hidden'] })) as [Peer, Peer]
    const distribution = sidecar(t, a)
    await distribution.connect(member.node, { signal })
    await distribution.connect(shell.node, { signal })
    await distribution.leave([member.node, 'gone@127.0.0.1'])
    assert.deepEqual(await distribution.list(), [shell.node])
  })

  test('before OTP 25.1 it cuts only where a cut isolates nobody', async (t) => {
    // What an older OTP lacks, taken away from this one. An external call would load it again.
    const without = 'code:unstick_mod(global), code:delete(global)'
    const [a, b] = (await start(t, 2)) as [Peer, Peer]
    await mesh([a, b])
    const distribution = sidecar(t, a)
    await b.evaluate(without)
    await assert.rejects(distribution.disconnect(b.node, absent), { code: 'cut_unsafe' })
    assert.deepEqual(await distribution.list(), [b.node])
    const off = { flags: ['-kernel', 'prevent_overlapping_partitions', 'false'] }
    const [c, d] = (await start(t, 2, off)) as [Peer, Peer]
    await mesh([c, d])
    const other = sidecar(t, c)
    await d.evaluate(without)
    await other.disconnect(d.node, absent)
    assert.deepEqual(await other.list(), [])
  })

  test('its end leaves the mesh as it is and takes only its name away', async (t) => {
    const [a, b, c] = (await start(t, 3)) as [Peer, Peer, Peer]
    await mesh([a, b, c])
    const distribution = sidecar(t, a)
    await distribution.list()
    assert.match(await a.evaluate('whereis(rollcall_agent)'), /^</)
    const ended = a.evaluate('monitor(process, rollcall_agent), receive {_, _, _, _, Reason} -> Reason end')
    await a.evaluate('ok')
    await distribution.close()
    assert.equal(await ended, 'noconnection')
    assert.equal(await a.evaluate('whereis(rollcall_agent)'), 'undefined')
    await whole([a, b, c])
    assert.equal(await a.evaluate('nodes(hidden)'), '[]')
  })

  test('finds its node again after a restart, and tells all links anew', async (t) => {
    const [a, b] = (await start(t, 2)) as [Peer, Peer]
    await mesh([a, b])
    const distribution = sidecar(t, a)
    const changes = distribution.changes?.(signal)[Symbol.asyncIterator]()
    assert.deepEqual((await changes?.next())?.value, { node: b.node, up: true })
    await a.kill()
    await assert.rejects(distribution.list(), { code: /not_registered|connection_lost|port_unreachable/ })
    await assert.rejects(distribution.list(), { code: /not_registered|port_unreachable/ })
    await assert.rejects(distribution.connect(b.node, { signal }), { code: /not_registered|port_unreachable/ })
    const again = await startErl({ name: a.node, cookie, epmdPort: epmd.port })
    t.after(() => again.kill())
    assert.deepEqual((await changes?.next())?.value, { node: b.node, up: false })
    assert.deepEqual(await distribution.list(), [])
    await again.evaluate(`net_kernel:connect_node('${b.node}')`)
    assert.deepEqual((await changes?.next())?.value, { node: b.node, up: true })
    await changes?.return?.()
  })

  test('takes the connection over from an agent of the same name, says so, and finds back when it is taken over', async (t) => {
    const [a, b] = (await start(t, 2)) as [Peer, Peer]
    await mesh([a, b])
    const warnings: string[] = []
    const log = { ...quiet, warn: (_: object, message: string) => void warnings.push(message) }
    const config: BeamConfig = { mode: 'sidecar', cookie, epmd: { port: epmd.port } }
    const [first, second] = [0, 1].map(() => createBeamDistribution(config, { self: a.node, log })) as [
      Distribution,
      Distribution,
    ]
    t.after(() => Promise.all([first.close(), second.close()]))
    await first.list()
    assert.deepEqual(warnings, [])
    assert.deepEqual(await second.list(), [b.node])
    assert.match(warnings.join(), /^took over/)
    await second.close()
    assert.deepEqual(await first.list(), [b.node])
    await whole([a, b])
  })

  test('says when another agent watches its node already, and takes over when that one ends', async (t) => {
    const [a] = (await start(t, 1)) as [Peer]
    const [first, second] = [sidecar(t, a, { name: 'one@127.0.0.2' }), sidecar(t, a, { name: 'two@127.0.0.2' })]
    await first.list()
    await assert.rejects(second.list(), { code: 'agent_already_running' })
    const taken = second.list()
    await first.close()
    assert.deepEqual(await taken, [])
  })

  test('steers an Elixir node', { skip: missingPrograms('elixir') }, async (t) => {
    const [b] = (await start(t, 1)) as [Peer]
    const elixir = await startElixir({ name: 'elixir@127.0.0.3', cookie, epmdPort: epmd.port })
    t.after(() => elixir.kill())
    const distribution = sidecar(t, elixir)
    await distribution.connect(b.node, { signal })
    assert.equal(await elixir.evaluate('Node.list()'), `[:"${b.node}"]`)
    const changes = distribution.changes?.(signal)[Symbol.asyncIterator]()
    assert.deepEqual((await changes?.next())?.value, { node: b.node, up: true })
    await distribution.disconnect(b.node, absent)
    assert.deepEqual((await changes?.next())?.value, { node: b.node, up: false })
    await changes?.return?.()
    assert.deepEqual(await distribution.list(), [])
  })

  test('calls the functions that the config names instead', async (t) => {
    const [a] = (await start(t, 1)) as [Peer]
    await a.evaluate('spawn(fun() -> ets:new(calls, [named_table, public]), receive stop -> ok end end)')
    const distribution = sidecar(t, a, {
      connect: ['ets', 'insert_new', 'calls'],
      disconnect: ['application', 'set_env', 'rollcall', 'gone'],
      list: ['erlang', 'nodes', 'known'],
    })
    // insert_new/2 takes a tuple, so a node name raises there: what is raised is shown.
    await assert.rejects(distribution.connect('x@127.0.0.9', { signal }), {
      code: 'rpc_failed',
      message: /insert_new.*badarg/,
    })
    await distribution.disconnect('x@127.0.0.9', absent)
    assert.equal(await a.evaluate('application:get_env(rollcall, gone)'), "{ok,'x@127.0.0.9'}")
    assert.ok((await distribution.list()).includes(a.node))
    const failing = sidecar(t, a, { connect: ['erlang', 'is_list'], list: ['erlang', 'node'] })
    await distribution.close()
    await assert.rejects(failing.connect('x@127.0.0.9', { signal }), { code: 'connect_failed', message: /got false/ })
    await assert.rejects(failing.list(), { code: 'list_malformed' })
  })

  test('reaches a node with a fixed port and no epmd', async (t) => {
    const port = await freePort()
    const flags = ['-erl_epmd_port', String(port)]
    const [a, b] = (await start(t, 2, { epmdPort: await freePort(), flags })) as [Peer, Peer]
    const distribution = sidecar(t, a, { port, epmd: { port: 1 } })
    await distribution.connect(b.node, { signal })
    assert.deepEqual(await distribution.list(), [b.node])
    await distribution.disconnect(b.node, absent)
    await Promise.all([linked(a, []), linked(b, [])])
  })

  test('steers nodes over IPv6', async (t) => {
    const flags = ['-proto_dist', 'inet6_tcp']
    const [a] = (await start(t, 1, { name: `six${++names}@::1`, flags })) as [Peer]
    const [b] = (await start(t, 1, { name: `six${++names}@::1`, flags })) as [Peer]
    const distribution = sidecar(t, a)
    await distribution.connect(b.node, { signal })
    assert.deepEqual(await distribution.list(), [b.node])
    await distribution.disconnect(b.node, absent)
    await Promise.all([linked(a, []), linked(b, [])])
    await assert.rejects(distribution.connect('nobody@::1', { signal }), { code: 'not_registered', message: /\[::1\]/ })
  })

  suite('says why a dial failed', () => {
    test('name_kind_mismatch', async (t) => {
      const [a] = (await start(t, 1)) as [Peer]
      const message = /long host.*b@short/
      await assert.rejects(sidecar(t, a).connect('b@short', { signal }), { code: 'name_kind_mismatch', message })
      const [short] = (await start(t, 1, { name: 'short@localhost' })) as [Peer]
      const other = { code: 'name_kind_mismatch', message: /short host.*b@127\.0\.0\.3/ }
      await assert.rejects(sidecar(t, short).connect('b@127.0.0.3', { signal }), other)
    })

    test('epmd_unreachable, not_registered and port_unreachable, with where it was seen', async (t) => {
      const [a] = (await start(t, 1)) as [Peer]
      const distribution = sidecar(t, a)
      const message = /seen from the agent rollcall-n\d+@127\.0\.0\.2/
      await assert.rejects(distribution.connect('nobody@127.0.0.2', { signal }), { code: 'not_registered', message })
      await assert.rejects(distribution.connect('b@256.1.1.1', { signal }), { code: 'epmd_unreachable', message })
      await register(t, 'ghost', await freePort())
      await assert.rejects(distribution.connect('ghost@127.0.0.2', { signal }), { code: 'port_unreachable', message })
    })

    test('cookie_rejected, with one handshake however often it is dialled', async (t) => {
      const [a] = (await start(t, 1)) as [Peer]
      const [b] = (await start(t, 1, { name: `other${++names}@127.0.0.3`, cookie: 'other' })) as [Peer]
      const distribution = sidecar(t, a)
      for (let dials = 0; dials < 3; dials++) {
        await assert.rejects(distribution.connect(b.node, { signal }), { code: 'cookie_rejected' })
      }
      // The log is written by a process of its own: asked last, it has written all.
      await b.evaluate('logger_std_h:filesync(default)')
      const refusals = b.output().match(/rollcall-n\d+@127\.0\.0\.2'? rejected/g)
      assert.equal(refusals?.length, 1, b.output())
    })

    test('handshake_refused', async (t) => {
      const [a, b] = (await start(t, 2)) as [Peer, Peer]
      await b.evaluate("net_kernel:allow(['friend@127.0.0.9'])")
      await assert.rejects(sidecar(t, a).connect(b.node, { signal }), { code: 'handshake_refused' })
    })

    test('connect_refused where only the node itself cannot', async (t) => {
      const [a, b] = (await start(t, 2)) as [Peer, Peer]
      await a.evaluate(`erlang:set_cookie('${b.node}', wrong)`)
      const message = /although a hidden handshake from this agent works/
      await assert.rejects(sidecar(t, a).connect(b.node, { signal }), { code: 'connect_refused', message })
    })

    test('and forgets it when the dial works again', async (t) => {
      const [a, b] = (await start(t, 2)) as [Peer, Peer]
      const distribution = sidecar(t, a)
      await a.evaluate(`erlang:set_cookie('${b.node}', wrong)`)
      await assert.rejects(distribution.connect(b.node, { signal }), { code: 'connect_refused' })
      await a.evaluate(`erlang:set_cookie('${b.node}', ${cookie})`)
      await distribution.connect(b.node, { signal })
      await distribution.disconnect(b.node, absent)
      await linked(a, [])
      await b.evaluate("net_kernel:allow(['friend@127.0.0.9'])")
      await assert.rejects(distribution.connect(b.node, { signal }), { code: 'handshake_refused' })
    })
  })

  test('an aborted dial ends with the reason of its signal', async (t) => {
    const [a] = (await start(t, 1)) as [Peer]
    const reason = new Error('enough')
    await assert.rejects(sidecar(t, a).connect('b@127.0.0.9', { signal: AbortSignal.abort(reason) }), reason)
  })

  test('a stranger cannot be mistaken for an agent', async (t) => {
    const [a, b] = (await start(t, 2)) as [Peer, Peer]
    await mesh([a, b])
    const stranger = await dial(b.node, { self: createNode('shell@127.0.0.9'), cookie, epmd: { port: epmd.port } })
    assert.deepEqual(await call(stranger, 'erlang', 'whereis', [atom('rollcall_agent')]), atom('undefined'))
    await sidecar(t, a).disconnect(b.node, absent)
    await linked(b, [])
    stranger.close()
  })
})
