import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { test, type TestContext } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { dial } from '../../../agent/beam/dial.ts'
import { atom, binary, isAtom, type Term, tuple } from '../../../agent/beam/etf.ts'
import { type MemberNode, type MemberOptions, startMember } from '../../../agent/beam/member.ts'
import { encodeName, flagsOf } from '../../../agent/beam/handshake-message.ts'
import { createNode } from '../../../agent/beam/node.ts'
import { call } from '../../../agent/beam/rpc.ts'
import { createFrameReader } from '../../../agent/beam/socket.ts'
import { freePort } from '../../peers/erlang.ts'
import { frame, startFake } from './fake-node.ts'
import { settledHeap } from './settled-heap.ts'

const cookie = 'secret'

/** Starts members on addresses of their own that all listen on one port, without epmd; they stop with the test. */
function cluster(t: TestContext) {
  const port = freePort()
  return async (name: string, options: Partial<MemberOptions> = {}): Promise<MemberNode> => {
    const node = await startMember({ name, cookie, port: await port, ...options })
    t.after(() => node.stop())
    return node
  }
}

async function two(t: TestContext): Promise<[MemberNode, MemberNode]> {
  const start = cluster(t)
  return [await start('a@127.0.0.1'), await start('b@127.0.0.2')]
}

/** Resolves when `node` has, or has no more, a link to `peer`. */
function link(node: MemberNode, peer: string, up: boolean): Promise<void> {
  return new Promise((resolve) => {
    if (node.nodes().includes(peer) === up) return resolve()
    const off = node.onLink((change) => {
      if (change.node !== peer || change.up !== up) return
      off()
      resolve()
    })
  })
}

test('members find each other by name alone, and ping both ways over one link', async (t) => {
  const [a, b] = await two(t)
  assert.equal(await a.ping(b.name), true)
  await link(b, a.name, true)
  assert.equal(await b.ping(a.name), true)
  assert.deepEqual([a.nodes(), b.nodes()], [[b.name], [a.name]])
  assert.equal(await a.ping('nobody@127.0.0.3'), false)
})

test('who may dial in can be told by name; own dials need not be told, and who is not told takes none of their links', async (t) => {
  const start = cluster(t)
  const [a, b, c] = [
    await start('a@127.0.0.1', { allow: ['shop-*@127.0.0.*', 'b@127.0.0.2'] }),
    await start('b@127.0.0.2'),
    await start('c@127.0.0.3'),
  ]
  const shop = await start('shop-1@127.0.0.4')
  await b.connect(a.name)
  await shop.connect(a.name)
  await assert.rejects(c.connect(a.name), { code: 'handshake_refused', message: /not_allowed/ })
  await link(a, shop.name, true)
  assert.deepEqual(a.nodes().toSorted(), [b.name, shop.name])
  await a.connect(c.name)
  assert.equal(await c.ping(a.name), true, 'over the link that a made')
})

test('a link that ends is heard of on both sides, and the next message makes it anew', async (t) => {
  const [a, b] = await two(t)
  await a.connect(b.name)
  await link(b, a.name, true)
  const gone = link(b, a.name, false)
  a.disconnect(b.name)
  await gone
  assert.deepEqual([a.nodes(), b.nodes()], [[], []])
  assert.equal(await b.ping(a.name), true)
})

test('exposed functions answer calls; nothing else does, and nothing by default', async (t) => {
  const [a, b] = await two(t)
  const undefinedThere = { code: 'rpc_failed', message: /undef/ }
  await assert.rejects(a.rpc(b.name, 'math', 'add', [1, 2]), undefinedThere)
  const hide = b.expose({
    math: {
      add: (x, y) => Number(x) + Number(y),
      later: async (x) => [x ?? 0],
      nothing: () => undefined,
      fail: () => {
        throw new Error('out of numbers')
      },
      text: () => 'no term' as unknown as Term,
      odd: () => {
        throw Object.create(null)
      },
    },
  })
  assert.equal(await a.rpc(b.name, 'math', 'add', [1, 2]), 3)
  assert.deepEqual(await a.rpc(b.name, 'math', 'later', [7]), [7])
  assert.deepEqual(await a.rpc(b.name, 'math', 'nothing', []), atom('ok'))
  await assert.rejects(a.rpc(b.name, 'math', 'fail', []), { code: 'rpc_failed', message: /out of numbers/ })
  await assert.rejects(a.rpc(b.name, 'math', 'text', []), { code: 'rpc_failed', message: /expected a term/ })
  await assert.rejects(a.rpc(b.name, 'math', 'odd', []), { code: 'rpc_failed', message: /Object: null prototype/ })
  await assert.rejects(a.rpc(b.name, 'math', 'toString', []), undefinedThere)
  await assert.rejects(a.rpc(b.name, 'math', 'constructor', []), undefinedThere)
  assert.equal(await b.rpc(b.name, 'math', 'add', [1, 2]), 3, 'a node calls itself, too')
  hide()
  await assert.rejects(a.rpc(b.name, 'math', 'add', [1, 2]), undefinedThere)
})

test('a registered name takes calls, casts and messages, in the order in which they were sent', async (t) => {
  const [a, b] = await two(t)
  const got: Term[] = []
  const counter = { node: b.name, name: 'counter' }
  await assert.rejects(a.call(counter, 1), { code: 'call_failed', message: /counter at b@127.0.0.2.*noproc/ })
  const release = b.register('counter', {
    call: (request, caller) => {
      assert.equal(caller.node, a.name)
      return tuple(atom('got'), [...got, request])
    },
    cast: (request) => got.push(request),
    info: (message) => got.push(message),
  })
  await a.cast(counter, 1)
  await a.send(counter, binary('two'))
  assert.deepEqual(await a.call(counter, 3), tuple(atom('got'), [1, new Uint8Array(binary('two')), 3]))
  assert.throws(() => b.register('counter', {}), { code: 'name_taken', message: /counter/ })
  release()
  await assert.rejects(a.call(counter, 1), { code: 'call_failed', message: /noproc/ })
  b.register('counter', {})()
})

test('a handler that throws, takes no calls or never answers costs the one call', async (t) => {
  const start = cluster(t)
  const errors: unknown[] = []
  const seen = Promise.withResolvers<void>()
  const log = {
    debug() {},
    info() {},
    warn() {},
    error(fields: object) {
      if (errors.push(fields) === 2) seen.resolve()
    },
  }
  const [a, b] = [await start('a@127.0.0.1'), await start('b@127.0.0.2', { log })]
  const bad = (): never => {
    throw new Error('sick')
  }
  b.register('sick', { call: bad, cast: bad, info: bad })
  b.register('deaf', {})
  b.register('slow', { call: () => new Promise<Term>(() => undefined) })
  await assert.rejects(a.call({ node: b.name, name: 'sick' }, 1), { code: 'call_failed', message: /sick/ })
  await assert.rejects(a.call({ node: b.name, name: 'deaf' }, 1), { code: 'call_failed', message: /takes no calls/ })
  await assert.rejects(a.call({ node: b.name, name: 'slow' }, 1, { timeoutMs: 20 }), { code: 'rpc_timeout' })
  b.register('late', { call: (request) => setTimeout(20, request) })
  assert.equal(await a.call({ node: b.name, name: 'late' }, 5, { timeoutMs: Infinity }), 5)
  const stop = new AbortController()
  const stopped = a.call({ node: b.name, name: 'slow' }, 1, { signal: stop.signal })
  stop.abort(new Error('enough'))
  await assert.rejects(stopped, /enough/)
  await a.cast({ node: b.name, name: 'sick' }, 1)
  await a.send({ node: b.name, name: 'sick' }, 1)
  await seen.promise
  assert.equal(errors.length, 2)
  assert.equal(await a.ping(b.name), true)
})

test('a monitor hears once why a process is gone: it ended, was never there, or its node is out of reach', async (t) => {
  const [a, b] = await two(t)
  const reasonOf = (target: { node: string; name: string }) =>
    new Promise<Term>((resolve) => a.monitor(target, (reason) => resolve(reason)))
  assert.deepEqual(await reasonOf({ node: b.name, name: 'job' }), atom('noproc'))
  const release = b.register('job', {})
  const ended = reasonOf({ node: b.name, name: 'job' })
  await a.ping(b.name) // behind the monitor on the same link
  release()
  assert.deepEqual(await ended, atom('normal'))
  b.register('job', {})
  const lost = reasonOf({ node: b.name, name: 'job' })
  const kept = a.monitor({ node: b.name, name: 'job' }, () => assert.fail('the monitor was taken back'))
  await a.ping(b.name)
  kept()
  b.disconnect(a.name)
  assert.deepEqual(await lost, atom('noconnection'))
  await b.stop()
  assert.deepEqual(await reasonOf({ node: b.name, name: 'job' }), atom('noconnection'))
})

test('200 of 200 simultaneous dials give one link that both sides use', async (t) => {
  const [a, b] = await two(t)
  for (let round = 0; round < 200; round++) {
    await Promise.all([a.connect(b.name), b.connect(a.name)])
    await Promise.all([link(a, b.name, true), link(b, a.name, true)])
    assert.deepEqual(await Promise.all([a.ping(b.name), b.ping(a.name)]), [true, true], `round ${round}`)
    assert.deepEqual([a.nodes(), b.nodes()], [[b.name], [a.name]], `round ${round}`)
    const gone = link(b, a.name, false)
    a.disconnect(b.name)
    await gone
  }
})

test('ten members that all dial each other at once become one mesh with one link a pair', async (t) => {
  const start = cluster(t)
  const nodes = await Promise.all(Array.from({ length: 10 }, (_, index) => start(`n${index}@127.0.1.${index + 1}`)))
  const downs: string[] = []
  for (const node of nodes) node.onLink(({ node: peer, up }) => void (up || downs.push(`${node.name} lost ${peer}`)))
  await Promise.all(
    nodes.flatMap((node) => nodes.filter((peer) => peer !== node).map(({ name }) => node.connect(name))),
  )
  await Promise.all(
    nodes.flatMap((node) => nodes.filter((peer) => peer !== node).map((peer) => link(node, peer.name, true))),
  )
  assert.deepEqual(downs, [])
  assert.deepEqual(new Set(nodes.map((node) => node.nodes().length)), new Set([9]))
})

test('a member that starts again under its name takes the place of its old link', async (t) => {
  const start = cluster(t)
  const [a, b] = [await start('a@127.0.0.1'), await start('b@127.0.0.2')]
  await a.connect(b.name)
  await b.stop()
  const again = await start('b@127.0.0.2')
  await again.connect(a.name)
  assert.equal(await a.ping(again.name), true)
  assert.deepEqual(a.nodes(), [again.name])
})

test('a member that has left turns away who dials it, until it connects again itself', async (t) => {
  const start = cluster(t)
  const [a, b, c] = [await start('a@127.0.0.1'), await start('b@127.0.0.2'), await start('c@127.0.0.3')]
  await Promise.all([b.connect(a.name), c.connect(a.name)])
  await Promise.all([link(a, b.name, true), link(a, c.name, true)])
  a.leave()
  await Promise.all([link(b, a.name, false), link(c, a.name, false)])
  await assert.rejects(b.connect(a.name), { code: 'handshake_refused', message: /not_allowed/ })
  assert.deepEqual(a.nodes(), [])
  await a.connect(b.name)
  await c.connect(a.name)
  assert.deepEqual(a.nodes(), [b.name, c.name])
})

test('a peer that has lost its end of the link gets a new one', async (t) => {
  const start = cluster(t)
  const a = await start('a@127.0.0.1')
  const peer = createNode('b@127.0.0.2')
  const first = await dial(a.name, { self: peer, cookie, port: a.port })
  const second = await dial(a.name, { self: peer, cookie, port: a.port })
  assert.deepEqual([first.replaced, second.replaced], [false, true])
  if (!first.closed.aborted) await once(first.closed, 'abort')
  assert.deepEqual(a.nodes(), [peer.name])
  assert.deepEqual(await call(second, 'nobody', 'knows', []).catch(({ code }: { code: string }) => code), 'rpc_failed')
  second.close()
})

for (const [name, status] of [
  ['aaa@127.0.0.2', 'nok'],
  ['zzz@127.0.0.2', 'ok_simultaneous'],
] as const) {
  test(`${name} that dials while it is dialled hears ${status}, as OTP has it`, async (t) => {
    const start = cluster(t)
    const member = await start('m@127.0.0.1')
    const heard = Promise.withResolvers<void>()
    // It takes the dial, hears the name, and says nothing yet.
    const fake = await startFake((socket) => socket.once('data', () => heard.resolve()))
    t.after(fake.close)
    const dialling = member.connect(name, { address: { host: '127.0.0.1', port: fake.port } })
    await heard.promise
    const socket = connect({ host: '127.0.0.1', port: member.port })
    t.after(() => socket.destroy())
    socket.write(frame(2, encodeName({ flags: flagsOf({ hidden: true }), creation: 77, name })))
    const body = await createFrameReader(socket).next(2, 100)
    assert.equal(body?.toString('latin1'), `s${status}`)
    await member.stop()
    await assert.rejects(dialling)
  })
}

test('a peer that cannot do what OTP 25 demands is not allowed in', async (t) => {
  const member = await cluster(t)('m@127.0.0.1')
  const socket = connect({ host: '127.0.0.1', port: member.port })
  t.after(() => socket.destroy())
  socket.write(frame(2, encodeName({ flags: 0x4n, creation: 77, name: 'old@127.0.0.2' })))
  assert.equal((await createFrameReader(socket).next(2, 100))?.toString('latin1'), 'snot_allowed')
})

test('another cookie, another name and the own one are refused with what to do', async (t) => {
  const start = cluster(t)
  const [a, other] = [await start('a@127.0.0.1'), await start('b@127.0.0.2', { cookie: 'other' })]
  await assert.rejects(a.connect(other.name), { code: 'cookie_rejected', message: /same cookie/ })
  await assert.rejects(other.connect(a.name), { code: 'cookie_rejected' })
  await assert.rejects(a.connect('c@127.0.0.2'), { code: 'wrong_node', message: /b@127.0.0.2/ })
  await assert.rejects(a.connect(a.name), { code: 'own_name' })
  await assert.rejects(a.connect('c@127.0.0.9'), { code: 'port_unreachable' })
  const twin = startMember({ name: 'a@127.0.0.1', cookie, port: a.port })
  await assert.rejects(twin, { code: 'listen_failed', message: /a@127.0.0.1.*EADDRINUSE.*port free/ })
  const elsewhere = startMember({ name: 'a@192.0.2.1', cookie, port: a.port })
  await assert.rejects(elsewhere, { code: 'listen_failed', message: /set listen/ })
})

test('a member is found where its source says, whatever its name', async (t) => {
  const start = cluster(t)
  const [a, b] = [await start('a@127.0.0.1'), await start('b@db.internal.example', { listen: '127.0.0.2' })]
  await a.connect(b.name, { address: { host: '127.0.0.2', port: b.port } })
  assert.deepEqual(a.nodes(), [b.name])
})

test('IPv6 members link over it', async (t) => {
  const epmd = { port: await freePort(), addresses: ['::1'] }
  const [a, b] = [
    await startMember({ name: 'a@::1', cookie, epmd }),
    await startMember({ name: 'b@::1', cookie, epmd }),
  ]
  t.after(() => Promise.all([a.stop(), b.stop()]))
  assert.equal(await a.ping(b.name), true)
  assert.equal(a.servesEpmd, true)
})

test('50 MB go both ways, and several at once wait for each other', async (t) => {
  const [a, b] = await two(t)
  const large = new Uint8Array(50 * 1024 * 1024).fill(7)
  b.expose({ echo: { size: (bytes) => (bytes as Uint8Array).length, back: () => large } })
  const sizes = await Promise.all(Array.from({ length: 6 }, () => a.rpc(b.name, 'echo', 'size', [large])))
  assert.deepEqual(
    sizes,
    Array.from({ length: 6 }, () => large.length),
  )
  const back = await a.rpc(b.name, 'echo', 'back', [])
  assert.ok(back instanceof Uint8Array && back.length === large.length && back.at(-1) === 7)
})

test('links to 1,000 members come and go without leaving sockets or memory behind', async (t) => {
  const start = cluster(t)
  const hub = await start('hub@127.0.0.1')
  hub.expose({ hub: { name: () => atom(hub.name) } })
  const sockets = () => process.getActiveResourcesInfo().filter((kind) => kind.startsWith('TCP')).length
  async function round(): Promise<void> {
    const names = Array.from({ length: 1_000 }, (_, index) => `n${index}@127.1.${index >> 8}.${index & 255}`)
    const nodes = await Promise.all(names.map((name) => startMember({ name, cookie, port: hub.port })))
    await Promise.all(nodes.map((node) => node.connect(hub.name)))
    assert.equal(hub.nodes().length, 1_000)
    const answers = await Promise.all(nodes.map((node) => node.rpc(hub.name, 'hub', 'name', [])))
    assert.ok(answers.every((answer) => isAtom(answer, hub.name)))
    const pings = await Promise.all(hub.nodes().map((name) => hub.ping(name)))
    assert.ok(pings.every(Boolean))
    await Promise.all(nodes.map((node) => node.stop()))
    await Promise.all(names.map((name) => link(hub, name, false)))
  }
  await round()
  const [socketsBefore, heapBefore] = [sockets(), await settledHeap()]
  await round()
  await round()
  assert.equal(sockets(), socketsBefore)
  const grown = (await settledHeap()) - heapBefore
  // What two rounds of 1,000 links used was some 40 MB.
  assert.ok(grown < 4 * 1024 * 1024, `${grown} bytes more than after the first round`)
})
