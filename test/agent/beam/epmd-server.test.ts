import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { test, type TestContext } from 'node:test'
import { lookUpPort, registeredNames } from '../../../agent/beam/epmd.ts'
import { type EpmdServer, serveEpmd } from '../../../agent/beam/epmd-server.ts'
import { createFakeLog } from '../fakes.ts'
import { createManualClock } from '../manual-clock.ts'
import { alive, ask, framed, say } from './epmd-wire.ts'

const host = '127.0.0.1'

async function serve(t: TestContext, options: Partial<Parameters<typeof serveEpmd>[0]> = {}): Promise<EpmdServer> {
  const log = createFakeLog()
  const server = await serveEpmd({ port: 0, addresses: [], log, clock: createManualClock(), ...options })
  t.after(() => server.close())
  return server
}

test('a name is known for as long as the connection that registered it', async (t) => {
  const { port } = await serve(t)
  const node = await say(port, alive('a', { port: 40_497 }))
  const answer = await node.heard(6)
  assert.deepEqual(answer.subarray(0, 2), Buffer.from([118, 0]))
  assert.ok(answer.readUInt32BE(2) > 3)
  assert.equal(await lookUpPort('a', { host, port }), 40_497)
  assert.deepEqual(await registeredNames({ host, port }), [{ name: 'a', port: 40_497 }])
  node.socket.end()
  await once(node.socket, 'close')
  await assert.rejects(lookUpPort('a', { host, port }), { code: 'not_registered' })
})

test('a node before version 6 gets a creation of 16 bits, 1 to 3, and another one each time', async (t) => {
  const { port } = await serve(t)
  const creations: number[] = []
  for (let count = 0; count < 4; count++) {
    const node = await say(port, alive('old', { high: 5 }))
    const answer = await node.heard(4)
    assert.deepEqual(answer.subarray(0, 2), Buffer.from([121, 0]))
    creations.push(answer.readUInt16BE(2))
    node.socket.destroy()
    await once(node.socket, 'close')
    // Whoever is answered finds the name gone.
    while ((await registeredNames({ host, port })).length > 0);
  }
  assert.deepEqual(new Set(creations), new Set([1, 2, 3]))
  assert.equal(creations[0], creations[3])
})

test('a name is given once, and free again when its node has gone', async (t) => {
  const { port } = await serve(t)
  const first = await say(port, alive('a', { port: 1 }))
  await first.heard(6)
  const second = await say(port, alive('a', { port: 2 }))
  assert.deepEqual(await second.heard(6), Buffer.from([118, 1, 0, 0, 0, 99]))
  second.socket.destroy()
  await once(second.socket, 'close')
  assert.equal(await lookUpPort('a', { host, port }), 1)
  first.socket.destroy()
  await once(first.socket, 'close')
  const third = await say(port, alive('a', { port: 3 }))
  assert.equal((await third.heard(6))[1], 0)
  assert.equal(await lookUpPort('a', { host, port }), 3)
})

test('a request may come byte by byte', async (t) => {
  const { port } = await serve(t)
  const node = await say(port, Buffer.alloc(0))
  node.socket.setNoDelay(true)
  for (const byte of alive('slow')) await new Promise((resolve) => node.socket.write(Buffer.from([byte]), resolve))
  assert.equal((await node.heard(6))[1], 0)
})

for (const [what, bytes] of [
  ['of no length', Buffer.from([0, 0])],
  ['of 65,535 bytes', Buffer.concat([Buffer.from([0xff, 0xff]), Buffer.alloc(65_535, 110)])],
  ['of more bytes than it says', Buffer.from('00016e6e', 'hex')],
  ['that nobody knows', framed('?')],
  ['to look up nothing', framed('z')],
  ['to look up a name with a zero', framed('za\0b')],
  ['to register nothing', alive('')],
  ['with a name beyond its end', alive('abc', { nameLength: 30 })],
  ['with an extra beyond its end', alive('abc', { extraLength: 30 })],
  ['with a name that ends where the extra begins', alive('abc', { nameLength: 4 })],
  ['with a zero in its name', alive('a\0b')],
  ['to stop a node', framed('sa')],
] as const) {
  test(`a request ${what} is closed without a word`, async (t) => {
    const { port } = await serve(t)
    const node = await say(port, alive('a'))
    await node.heard(6)
    assert.equal((await ask(port, bytes)).toString('hex'), '')
    assert.deepEqual(await registeredNames({ host, port }), [{ name: 'a', port: 4_000 }])
  })
}

test('it is never killed over the wire', async (t) => {
  const { port } = await serve(t)
  assert.equal((await ask(port, framed('k'))).toString(), 'NO')
  assert.deepEqual(await registeredNames({ host, port }), [])
})

test('a node that speaks after its registration loses its name', async (t) => {
  const { port } = await serve(t)
  const node = await say(port, alive('a'))
  await node.heard(6)
  node.socket.write('x')
  await node.whole
  assert.deepEqual(await registeredNames({ host, port }), [])
})

test('who has not registered after 10 s is let go, who has stays', async (t) => {
  const clock = createManualClock()
  const { port } = await serve(t, { clock })
  const silent = await say(port, Buffer.alloc(0))
  const half = await say(port, Buffer.from([0]))
  const node = await say(port, alive('a'))
  await node.heard(6)
  const refused = await say(port, alive('a'))
  await refused.heard(6)
  await clock.advance(9_999)
  for (const { socket } of [silent, half, refused]) assert.equal(socket.readableEnded, false)
  await clock.advance(1)
  for (const { whole } of [silent, half, refused]) await whole
  await clock.advance(1_000_000)
  assert.equal(clock.sleeping(), 0)
  assert.deepEqual(await registeredNames({ host, port }), [{ name: 'a', port: 4_000 }])
})

test('1,500 connections that say nothing stop nobody: the oldest are let go', async (t) => {
  const clock = createManualClock()
  const { port } = await serve(t, { clock })
  const node = await say(port, alive('a'))
  await node.heard(6)
  const silent = []
  for (let count = 0; count < 1_500; count++) silent.push(await say(port, Buffer.alloc(0)))
  assert.deepEqual(await registeredNames({ host, port }), [{ name: 'a', port: 4_000 }])
  await Promise.all(silent.slice(0, 476).map(({ whole }) => whole))
  assert.equal(silent.filter(({ socket }) => socket.readableEnded).length, 477)
  assert.ok(clock.sleeping() <= 1_024)
  for (const { socket } of silent) socket.destroy()
})

test('1,024 names have room; the next is closed without a word, said once, until one has gone', async (t) => {
  const log = createFakeLog()
  const { port } = await serve(t, { log })
  const nodes = []
  for (let count = 0; count < 1_024; count++) nodes.push(await say(port, alive(`n${count}`)))
  for (const node of nodes) await node.heard(6)
  assert.equal((await ask(port, alive('late'))).length, 0)
  assert.equal((await ask(port, alive('later'))).length, 0)
  assert.equal((await registeredNames({ host, port })).length, 1_024)
  assert.equal(log.lines.filter((line) => line.startsWith('warn')).length, 1)
  const [first] = nodes
  first?.socket.destroy()
  while ((await registeredNames({ host, port })).length === 1_024);
  assert.equal((await (await say(port, alive('late'))).heard(6))[1], 0)
})

test('a port that is served already is epmd_taken, and nothing of it is bound', async (t) => {
  const { port } = await serve(t)
  const log = createFakeLog()
  await assert.rejects(serveEpmd({ port, addresses: [], log }), { code: 'epmd_taken', message: /127\.0\.0\.1/ })
  // With every interface it would still be the same port.
  await assert.rejects(serveEpmd({ port, log }), { code: 'epmd_taken' })
  assert.deepEqual(log.lines, [])
})

test('the first address decides; another that cannot be bound is logged', async (t) => {
  const other = createServer().listen({ host: '127.0.0.2', port: 0 })
  await once(other, 'listening')
  t.after(() => other.close())
  const { port } = other.address() as { port: number }
  const log = createFakeLog()
  const served = await serve(t, { port, addresses: ['127.0.0.2', '127.0.0.3', '127.0.0.1'], log })
  assert.equal(served.port, port)
  assert.deepEqual(
    log.lines.filter((line) => line.startsWith('warn')),
    ['warn  the epmd could not bind an address'],
  )
  assert.deepEqual(await registeredNames({ host: '127.0.0.3', port }), [])
})

test('it listens on the addresses that it is given and on loopback, and nowhere else', async (t) => {
  const { port } = await serve(t, { addresses: ['127.0.0.2'] })
  assert.deepEqual(await registeredNames({ host: '127.0.0.1', port }), [])
  assert.deepEqual(await registeredNames({ host: '127.0.0.2', port }), [])
  assert.deepEqual(await registeredNames({ host: '::1', port }), [])
  await assert.rejects(registeredNames({ host: '127.0.0.3', port }), { code: 'epmd_unreachable' })
})

test('without addresses it listens everywhere, and a node on ::1 may register too', async (t) => {
  const { port } = await serve(t, { addresses: undefined })
  const node = await say(port, alive('six'), '::1')
  await node.heard(6)
  assert.deepEqual(await registeredNames({ host: '127.0.0.9', port }), [{ name: 'six', port: 4_000 }])
})

test('addresses that are none are epmd_bind', async () => {
  const log = createFakeLog()
  await assert.rejects(serveEpmd({ port: 0, addresses: ['localhost'], log }), {
    code: 'epmd_bind',
    message: /localhost/,
  })
})

test('its end closes every connection and frees the port', async (t) => {
  const served = await serve(t)
  const node = await say(served.port, alive('a'))
  await node.heard(6)
  const silent = await say(served.port, Buffer.alloc(0))
  await served.close()
  await Promise.all([node.whole, silent.whole])
  const again = await serve(t, { port: served.port })
  assert.deepEqual(await registeredNames({ host, port: again.port }), [])
  await served.close()
})
