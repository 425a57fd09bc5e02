import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { announce } from '../../../agent/beam/epmd.ts'
import { startFake } from './fake-node.ts'

const announced = { basename: 'a', port: 4_000, hidden: true }

test('a registration outlives the time for its answer, and ends with its epmd, whatever that says meanwhile', async (t) => {
  const epmd = await startFake((socket) => {
    socket.once('data', () => {
      // The older form, in pieces, and something that nobody asked for.
      for (const byte of [121, 0, 0, 1, 77]) socket.write(Buffer.from([byte]))
    })
  })
  t.after(epmd.close)
  const socket = await announce(announced, { host: '127.0.0.1', port: epmd.port, timeoutMs: 100 })
  await once(AbortSignal.timeout(150), 'abort')
  assert.equal(socket.destroyed, false)
  const closed = once(socket, 'close')
  await epmd.close()
  await closed
})

for (const [what, answer, code] of [
  ['the end', '', 'epmd_closed'],
  ['a refusal', '760100000063', 'name_taken'],
  ['a refusal in the older form', '79010063', 'name_taken'],
  ['the first byte of an answer', '76', 'epmd_garbled'],
  ['another protocol', '485454502f312e31', 'epmd_garbled'],
] as const) {
  test(`${what} for a registration is ${code}, and its connection is closed`, async (t) => {
    const epmd = await startFake((socket) => {
      socket.once('data', () => socket.end(Buffer.from(answer, 'hex')))
    })
    t.after(epmd.close)
    await assert.rejects(announce(announced, { host: '127.0.0.1', port: epmd.port }), { code })
    await epmd.dropped
  })
}

test('a registration that is never answered is epmd_unreachable, and its connection is closed', async (t) => {
  const epmd = await startFake(() => {})
  t.after(epmd.close)
  const options = { host: '127.0.0.1', port: epmd.port, timeoutMs: 50 }
  await assert.rejects(announce(announced, options), { code: 'epmd_unreachable', message: /within 50 ms/ })
  await epmd.dropped
})
