import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { registeredNames } from '../../agent/beam/epmd.ts'
import { atom, type Term, textOf, tuple } from '../../agent/beam/etf.ts'
import { type DialOptions, dial } from '../../agent/beam/dial.ts'
import { createNode } from '../../agent/beam/node.ts'
import { call, evaluateLinked } from '../../agent/beam/rpc.ts'
import { type Epmd, freePort, type Peer, startEpmd, startErl } from './erlang.ts'
import { makeCertificates } from './certificates.ts'
import { until } from './until.ts'
import { missingPrograms } from './programs.ts'

const cookie = 'secret'
const self = createNode('rollcall-a@127.0.0.2')

suite('A dial to a real node', { skip: missingPrograms('erl'), timeout: 60_000 }, () => {
  let epmd: Epmd
  let node: Peer
  let options: DialOptions

  before(async () => {
    epmd = await startEpmd()
    node = await startErl({ name: 'a@127.0.0.2', cookie, epmdPort: epmd.port })
    options = { self, cookie, epmd: { port: epmd.port } }
  })
  after(async () => {
    await node.kill()
    await epmd.stop()
  })

  test('connects as a hidden node that answers a ping and is gone after close', async () => {
    const connection = await dial(node.node, options)
    assert.deepEqual(await call(connection, 'erlang', 'nodes', []), [])
    assert.deepEqual(await call(connection, 'erlang', 'nodes', [atom('hidden')]), [atom(self.name)])
    assert.equal(await node.evaluate(`{net_adm:ping('${self.name}'), nodes(hidden)}`), `{pong,['${self.name}']}`)
    assert.equal(
      await node.evaluate(`rpc:call('${self.name}', erlang, node, [])`),
      "{badrpc,{'EXIT',{undef,[{erlang,node,[],[]}]}}}",
    )
    const gone = node.evaluate(`monitor_node('${self.name}', true), receive {nodedown, Node} -> Node end`)
    await call(connection, 'erlang', 'node', [])
    connection.close()
    assert.equal(await gone, `'${self.name}'`)
  })

  test('names of the epmd hold the node and not rollcall', async () => {
    const connection = await dial(node.node, options)
    const names = await registeredNames({ host: '127.0.0.2', port: epmd.port })
    connection.close()
    assert.deepEqual(
      names.map(({ name }) => name),
      ['a'],
    )
  })

  test('a call gives the value, or what was raised', async () => {
    const connection = await dial(node.node, options)
    const failed = (pattern: RegExp) => ({ code: 'rpc_failed', message: pattern })
    assert.deepEqual(await call(connection, 'lists', 'seq', [1, 3]), [1, 2, 3])
    await assert.rejects(call(connection, 'erlang', 'nodes', [atom('nonsense')]), failed(/erlang:nodes\/1.*badarg/))
    await assert.rejects(call(connection, 'erlang', 'throw', [tuple(atom('no'), 1)]), failed(/throw,\{no,1\}/))
    await assert.rejects(call(connection, 'erlang', 'exit', [atom('killed')]), failed(/exit,killed/))
    await assert.rejects(call(connection, 'nobody', 'knows', []), failed(/undef/))
    // The group leader is nobody here: printing fails at once and does not wait.
    await assert.rejects(call(connection, 'io', 'format', [[65]]), failed(/terminated/))
    connection.close()
  })

  test('calls in flight at once do not mix', async () => {
    const connection = await dial(node.node, options)
    const asked = Array.from({ length: 500 }, (_, index) => index)
    assert.deepEqual(await Promise.all(asked.map((index) => call(connection, 'erlang', 'abs', [-index]))), asked)
    connection.close()
  })

  test('a reply of 50 MB comes whole, and what follows it too', async () => {
    const connection = await dial(node.node, options)
    const size = 50 * 1024 * 1024
    const [large, small] = await Promise.all([
      call(connection, 'binary', 'copy', [new Uint8Array([7]), size]),
      call(connection, 'erlang', 'node', []),
    ])
    assert.equal(large instanceof Uint8Array && large.length, size)
    assert.ok(large instanceof Uint8Array && large.every((byte) => byte === 7))
    assert.deepEqual(small, atom(node.node))
    connection.close()
  })

  test('a reply beyond the limit costs this connection and not the node', async () => {
    const connection = await dial(node.node, { ...options, maxFrameBytes: 10_000 })
    const asking = call(connection, 'binary', 'copy', [new Uint8Array([7]), 20_000])
    await assert.rejects(asking, { code: 'frame_too_large' })
    const again = await dial(node.node, options)
    assert.deepEqual(await call(again, 'erlang', 'node', []), atom(node.node))
    again.close()
  })

  test('a second dial under the same name takes over from the first', async () => {
    const first = await dial(node.node, options)
    const second = await dial(node.node, options)
    await (first.closed.aborted || once(first.closed, 'abort'))
    assert.equal((first.closed.reason as { code: string }).code, 'connection_lost')
    assert.deepEqual(await call(second, 'erlang', 'node', []), atom(node.node))
    second.close()
  })

  test('a linked evaluation pushes what it sends and ends with the connection', async () => {
    const connection = await dial(node.node, options)
    const { promise, resolve } = Promise.withResolvers<Term>()
    const source = 'register(here, self()), Agent ! {node(), "up"}, receive never -> ok end.'
    await evaluateLinked(connection, source, (signal) => void (signal.type === 'message' && resolve(signal.term)))
    assert.deepEqual(await promise, tuple(atom(node.node), [117, 112]))
    const ended = node.evaluate(
      'monitor(process, here), register(watching, self()), receive {_, _, _, _, Reason} -> Reason end',
    )
    await until('the monitor', async () => (await node.evaluate('whereis(watching)')) !== 'undefined')
    connection.close()
    assert.equal(await ended, 'noconnection')
    await assert.rejects(
      evaluateLinked(await dial(node.node, options), 'this is not Erlang', () => {}),
      {
        code: 'rpc_failed',
        message: /parsing/,
      },
    )
  })

  test('each way to fail has its own code', async () => {
    const dead = await freePort()
    await assert.rejects(dial(node.node, { ...options, cookie: 'wrong' }), { code: 'cookie_rejected' })
    await assert.rejects(dial('b@127.0.0.2', options), { code: 'not_registered' })
    await assert.rejects(dial(node.node, { ...options, epmd: { port: dead } }), { code: 'epmd_unreachable' })
    await assert.rejects(dial(node.node, { ...options, port: dead }), { code: 'port_unreachable' })
    const port = Number((await registeredNames({ host: '127.0.0.2', port: epmd.port }))[0]?.port)
    await assert.rejects(dial('b@127.0.0.2', { ...options, port }), { code: 'wrong_node' })
    await assert.rejects(dial(node.node, { ...options, port, self: createNode('nobody') }), {
      code: 'handshake_closed',
    })
    const connection = await dial(node.node, { ...options, port })
    assert.deepEqual(await call(connection, 'erlang', 'node', []), atom(node.node))
    connection.close()
  })

  test('a name that the node does not allow is refused', async () => {
    const strict = await startErl({ name: 'strict@127.0.0.2', cookie, epmdPort: epmd.port })
    try {
      await strict.evaluate("net_kernel:allow(['friend@127.0.0.2'])")
      await assert.rejects(dial(strict.node, options), { code: 'handshake_refused', message: /not_allowed/ })
    } finally {
      await strict.kill()
    }
  })
})

suite('A connection at rest', { skip: missingPrograms('erl'), concurrency: true, timeout: 90_000 }, () => {
  let epmd: Epmd
  before(async () => {
    epmd = await startEpmd()
  })
  after(() => epmd.stop())

  async function startQuick(name: string): Promise<Peer> {
    return startErl({ name, cookie, epmdPort: epmd.port, flags: ['-kernel', 'net_ticktime', '4'] })
  }

  // Twelve ticks of the peer are three of its tick times: seconds of silence are what this is about.
  for (const [what, tickTimeMs] of [
    ['its own ticks', 4_000],
    ['the echo of the ticks it gets', 600_000],
  ] as const) {
    test(`stays up at net_ticktime 4 by ${what}`, async () => {
      const node = await startQuick(`quick${tickTimeMs}@127.0.0.2`)
      const connection = await dial(node.node, { self, cookie, epmd: { port: epmd.port }, tickTimeMs })
      await Promise.race([once(connection.closed, 'abort'), delay(12_500)])
      assert.equal(connection.closed.aborted, false, String(connection.closed.reason))
      assert.deepEqual(await call(connection, 'erlang', 'nodes', [atom('hidden')]), [atom(self.name)])
      connection.close()
      await node.kill()
    })
  }

  test('is ended when the node stops speaking, as a half-open one does', async () => {
    const node = await startQuick('mute@127.0.0.2')
    const connection = await dial(node.node, { self, cookie, epmd: { port: epmd.port } })
    connection.setTickTime(4_000)
    node.signal('SIGSTOP')
    await once(connection.closed, 'abort')
    assert.equal((connection.closed.reason as { code: string }).code, 'peer_silent')
    await node.kill()
  })

  test('learns that the node has dropped it, when nothing of ours arrives any more', async (t) => {
    const node = await startQuick('deaf@127.0.0.2')
    const [registered] = await registeredNames({ host: '127.0.0.2', port: epmd.port }).then((names) =>
      names.filter(({ name }) => name === 'deaf'),
    )
    let muted = false
    const proxy = createServer((near) => {
      const far = connect(registered?.port ?? 0, '127.0.0.2')
      near.on('data', (chunk) => muted || far.write(chunk))
      far.on('data', (chunk) => near.write(chunk))
      far.on('close', () => near.destroy())
      near.on('close', () => far.destroy())
      for (const socket of [near, far]) socket.on('error', () => {})
    }).listen(0, '127.0.0.2')
    await once(proxy, 'listening')
    t.after(() => proxy.close())
    const { port } = proxy.address() as AddressInfo
    const connection = await dial(node.node, { self, cookie, port })
    muted = true
    await once(connection.closed, 'abort')
    assert.equal((connection.closed.reason as { code: string }).code, 'connection_lost')
    await node.kill()
  })

  test('stays up through more than 60 s of silence at the default tick time', async () => {
    const node = await startErl({ name: 'calm@127.0.0.2', cookie, epmdPort: epmd.port })
    const connection = await dial(node.node, { self, cookie, epmd: { port: epmd.port } })
    // A silent peer is dropped between 45 and 75 s; we would be too.
    await Promise.race([once(connection.closed, 'abort'), delay(76_000)])
    assert.equal(connection.closed.aborted, false, String(connection.closed.reason))
    assert.deepEqual(await call(connection, 'erlang', 'node', []), atom(node.node))
    connection.close()
    await node.kill()
  })
})

suite('A dial over IPv6', { skip: missingPrograms('erl'), timeout: 60_000 }, () => {
  test('reaches a node whose host is an address', async () => {
    const epmd = await startEpmd()
    const node = await startErl({ name: 'six@::1', cookie, epmdPort: epmd.port, flags: ['-proto_dist', 'inet6_tcp'] })
    const connection = await dial(node.node, {
      self: createNode('rollcall-six@::1'),
      cookie,
      epmd: { port: epmd.port },
    })
    assert.deepEqual(await call(connection, 'erlang', 'nodes', [atom('hidden')]), [atom('rollcall-six@::1')])
    connection.close()
    await node.kill()
    await epmd.stop()
  })
})

suite('A dial over TLS', { skip: missingPrograms('erl', 'openssl'), timeout: 60_000 }, () => {
  let epmd: Epmd
  let node: Peer
  let folder: string
  let options: DialOptions

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'rollcall-tls-'))
    const { flags, tls } = makeCertificates(folder)
    epmd = await startEpmd()
    node = await startErl({ name: 't@127.0.0.1', cookie, epmdPort: epmd.port, flags })
    options = { self: createNode('rollcall-t@127.0.0.1'), cookie, epmd: { port: epmd.port }, tls, stepTimeoutMs: 2_000 }
  })
  after(async () => {
    await node.kill()
    await epmd.stop()
    rmSync(folder, { recursive: true })
  })

  test('connects, calls, ticks and carries 5 MB', async () => {
    const connection = await dial(node.node, { ...options, tickTimeMs: 400 })
    const large = await call(connection, 'binary', 'copy', [new Uint8Array([7]), 5_000_000])
    assert.equal(large instanceof Uint8Array && large.length, 5_000_000)
    assert.match(textOf(await call(connection, 'erlang', 'atom_to_list', [atom(self.name)])) ?? '', /rollcall/)
    connection.close()
  })

  test('is refused with another CA, another host, no certificate of its own or the wrong cookie', async () => {
    const { tls } = options
    assert.ok(tls)
    const other = { ...tls, ca: join(folder, 'other.pem') }
    await assert.rejects(dial(node.node, { ...options, tls: other }), { code: 'tls_failed', message: /certificate/ })
    const host = { ...options, epmd: { host: '127.0.0.1', port: epmd.port } }
    await assert.rejects(dial('t@localhost', host), { code: 'tls_failed', message: /localhost/ })
    await assert.rejects(dial(node.node, { ...options, tls: { ca: tls.ca } }), { code: 'tls_failed' })
    await assert.rejects(dial(node.node, { ...options, cookie: 'wrong' }), { code: 'cookie_rejected' })
  })

  test('is never made without TLS', async () => {
    await assert.rejects(dial(node.node, { ...options, tls: undefined }), { code: 'handshake_garbled', message: /TLS/ })
  })
})
