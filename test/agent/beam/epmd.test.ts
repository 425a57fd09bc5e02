import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { lookUpPort, registeredNames } from '../../../agent/beam/epmd.ts'
import { startFake } from './fake-node.ts'

test('a look-up sends one PORT_PLEASE2_REQ and gives the port', async (t) => {
  const asked: Buffer[] = []
  const epmd = await startFake((socket) => {
    socket.once('data', (chunk) => {
      asked.push(chunk)
      socket.end(Buffer.from('77009e314d00000600050001610000', 'hex'))
    })
  })
  t.after(epmd.close)
  assert.equal(await lookUpPort('a', { host: '127.0.0.1', port: epmd.port }), 40497)
  assert.deepEqual(asked, [Buffer.from('00027a61', 'hex')])
})

test('names are read from an answer that comes in pieces', async (t) => {
  const answer = '000038216e616d65206120617420706f72742034303439370a6e616d65206220617420706f72742033333735310a'
  const epmd = await startFake(async (socket) => {
    await once(socket, 'data')
    for (const byte of Buffer.from(answer, 'hex')) socket.write(Buffer.from([byte]))
    socket.end()
  })
  t.after(epmd.close)
  assert.deepEqual(await registeredNames({ host: '127.0.0.1', port: epmd.port }), [
    { name: 'a', port: 40497 },
    { name: 'b', port: 33751 },
  ])
})

test('an unknown name is not_registered, a closed port is epmd_unreachable', async (t) => {
  const epmd = await startFake((socket) => socket.end(Buffer.from([119, 1])))
  t.after(epmd.close)
  const { port } = epmd
  await assert.rejects(lookUpPort('a', { host: '127.0.0.1', port }), {
    code: 'not_registered',
    message: /a .*registered/,
  })
  await epmd.close()
  await assert.rejects(lookUpPort('a', { host: '127.0.0.1', port }), {
    code: 'epmd_unreachable',
    message: /ECONNREFUSED/,
  })
})

for (const [what, answer] of [
  ['nothing', Buffer.alloc(0)],
  ['an answer cut in the port', Buffer.from([119, 0, 1])],
  ['another protocol', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')],
  ['an answer without an end', Buffer.alloc(100_000, 119)],
] as const) {
  test(`${what} from the epmd's port is epmd_garbled`, async (t) => {
    const epmd = await startFake((socket) => socket.end(answer))
    t.after(epmd.close)
    await assert.rejects(lookUpPort('a', { host: '127.0.0.1', port: epmd.port }), { code: 'epmd_garbled' })
  })
}

for (const [what, answer] of [
  ['nothing', ''],
  ['less than a port', '\0\0'],
  ['names that were cut', '\0\0\x118name a at port 40497\nname b at po'],
  ['names that were cut in the port', '\0\0\x118name a at port 40497\nname b at port 33'],
  ['another protocol', 'HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n'],
  ['NUL bytes', '\0'.repeat(64)],
] as const) {
  test(`${what} instead of names is epmd_garbled, and not fewer names`, async (t) => {
    const epmd = await startFake((socket) => socket.end(Buffer.from(answer, 'latin1')))
    t.after(epmd.close)
    await assert.rejects(registeredNames({ host: '127.0.0.1', port: epmd.port }), { code: 'epmd_garbled' })
  })
}

test('an epmd without names answers with its port alone', async (t) => {
  const epmd = await startFake((socket) => socket.end(Buffer.from([0, 0, 17, 17])))
  t.after(epmd.close)
  assert.deepEqual(await registeredNames({ host: '127.0.0.1', port: epmd.port }), [])
})

test('an epmd that never answers is given up after the time-out, and at once when the caller says so', async (t) => {
  const epmd = await startFake(() => {})
  t.after(epmd.close)
  const options = { host: '127.0.0.1', port: epmd.port }
  await assert.rejects(lookUpPort('a', { ...options, timeoutMs: 50 }), { code: 'epmd_unreachable' })
  await epmd.dropped
  const reason = new Error('enough')
  const stop = new AbortController()
  const asking = lookUpPort('a', { ...options, signal: stop.signal })
  stop.abort(reason)
  await assert.rejects(asking, reason)
})
