import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import { dial } from '../../../agent/beam/dial.ts'
import { createNode } from '../../../agent/beam/node.ts'
import { createFrameReader } from '../../../agent/beam/socket.ts'
import { acceptAs, challengeOf, frame, startFake } from './fake-node.ts'

const PEER = 'b@127.0.0.1'
const self = createNode('js@127.0.0.1')

test('a dial introduces itself as a hidden node of version 6 and proves the cookie', async (t) => {
  const read: Buffer[] = []
  const fake = await startFake(acceptAs(PEER, 'secret', () => {}, { read: (body) => read.push(body) }))
  t.after(fake.close)
  const connection = await dial(PEER, { self, cookie: 'secret', port: fake.port })
  t.after(() => connection.close())
  const creation = self.creation.toString(16).padStart(8, '0')
  const name = Buffer.from(self.name).toString('hex')
  assert.equal(read[0]?.toString('hex'), `4e0000000d075f0fbc${creation}000c${name}`)
  assert.equal(read[1]?.length, 21)
  // md5 of secret4000000000
  assert.equal(read[1]?.toString('hex', 5), '068283266ffc7df6091e084e0e32bdd2')
})

test('status alive is answered with true, for the old connection is dead', async (t) => {
  const read: Buffer[] = []
  const options = { status: 'alive', read: (body: Buffer) => read.push(body) }
  const fake = await startFake(acceptAs(PEER, 'secret', () => {}, options))
  t.after(fake.close)
  const connection = await dial(PEER, { self, cookie: 'secret', port: fake.port })
  connection.close()
  assert.equal(read[1]?.toString(), 'strue')
})

test('a peer that does not know the cookie is refused although it accepts ours', async (t) => {
  const fake = await startFake(acceptAs(PEER, 'another', () => {}))
  t.after(fake.close)
  await assert.rejects(dial(PEER, { self, cookie: 'secret', port: fake.port }), { code: 'digest_wrong' })
  await fake.dropped
})

test('a peer of another name is refused before it learns a digest', async (t) => {
  const read: Buffer[] = []
  const fake = await startFake(acceptAs('c@127.0.0.1', 'secret', () => {}, { read: (body) => read.push(body) }))
  t.after(fake.close)
  await assert.rejects(dial(PEER, { self, cookie: 'secret', port: fake.port }), {
    code: 'wrong_node',
    message: /expected b@127\.0\.0\.1, got c@127\.0\.0\.1/,
  })
  await fake.dropped
  assert.equal(read.length, 1)
})

const say =
  (...bodies: Buffer[]) =>
  (socket: Socket) =>
    void bodies.map((body) => socket.write(frame(2, body)))
const hangUpAfter = (frames: number) => async (socket: Socket) => {
  const reader = createFrameReader(socket)
  socket.write(frame(2, Buffer.from('sok')))
  socket.write(frame(2, challengeOf(PEER, 1)))
  for (let read = 0; read < frames; read++) await reader.next(2, 4096)
  socket.end()
}

for (const [what, script, code] of [
  ['bytes of another protocol', (socket: Socket) => socket.write('SSH-2.0-OpenSSH_9.9\r\n'), 'handshake_garbled'],
  ['a frame that is no status', say(Buffer.from('x')), 'handshake_garbled'],
  ['an empty frame', say(Buffer.alloc(0)), 'handshake_garbled'],
  ['status nok', say(Buffer.from('snok')), 'handshake_nok'],
  ['status not_allowed', say(Buffer.from('snot_allowed')), 'handshake_refused'],
  ['a challenge cut short', say(Buffer.from('sok'), challengeOf(PEER, 1).subarray(0, 20)), 'handshake_garbled'],
  ['a challenge of version 5', say(Buffer.from('sok'), Buffer.from('n00000000000000')), 'handshake_garbled'],
  ['a wrong ack', say(Buffer.from('sok'), challengeOf(PEER, 1), Buffer.from('a')), 'handshake_garbled'],
  ['the end at once', (socket: Socket) => socket.end(), 'handshake_closed'],
  ['the end after our digest', hangUpAfter(2), 'cookie_rejected'],
] as const) {
  test(`${what} ends the dial with ${code}`, async (t) => {
    const fake = await startFake(script)
    t.after(fake.close)
    await assert.rejects(dial(PEER, { self, cookie: 'secret', port: fake.port }), { code })
    await fake.dropped
  })
}

test('a peer that says nothing, and one that drips, cost a step of time and their own socket', async (t) => {
  const silent = await startFake(() => {})
  const dripping = await startFake((socket) => {
    const timer = setInterval(() => socket.write('\x0f'), 5)
    socket.once('close', () => clearInterval(timer))
  })
  t.after(silent.close)
  t.after(dripping.close)
  const options = { self, cookie: 'secret', stepTimeoutMs: 60 }
  await assert.rejects(dial(PEER, { ...options, port: silent.port }), { code: 'handshake_timeout', message: /status/ })
  await silent.dropped
  await assert.rejects(dial(PEER, { ...options, port: dripping.port }), { code: 'handshake_timeout' })
  await dripping.dropped
})

test('an aborted dial rejects with the reason of its signal and leaves no socket', async (t) => {
  const fake = await startFake(() => stop.abort(reason))
  t.after(fake.close)
  const stop = new AbortController()
  const reason = new Error('enough')
  await assert.rejects(dial(PEER, { self, cookie: 'secret', port: fake.port, signal: stop.signal }), reason)
  await fake.dropped
})

test('a CA file that is missing is an error that names it', async (t) => {
  const fake = await startFake(() => {})
  t.after(fake.close)
  const tls = { ca: '/nowhere/ca.pem' }
  await assert.rejects(dial(PEER, { self, cookie: 'secret', port: fake.port, tls }), {
    code: 'tls_file',
    message: /\/nowhere\/ca\.pem/,
  })
  await fake.dropped
})
