import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { test, type TestContext } from 'node:test'
import { systemClock, turn } from '../../../agent/clock.ts'
import { lookUpPort, registeredNames } from '../../../agent/beam/epmd.ts'
import { type EpmdServer, serveEpmd } from '../../../agent/beam/epmd-server.ts'
import { type RegisterOptions, type Registration, register } from '../../../agent/beam/registration.ts'
import { freePort } from '../../peers/erlang.ts'
import { createFakeLog } from '../fakes.ts'
import { createManualClock, type ManualClock } from '../manual-clock.ts'
import { startFake } from './fake-node.ts'

const host = '127.0.0.1'
const OK = Buffer.from('760000000007', 'hex')
const TAKEN = Buffer.from('760100000063', 'hex')

function options(epmdPort: number, changes: Partial<RegisterOptions> = {}): RegisterOptions {
  return {
    basename: 'a',
    port: 4_000,
    hidden: true,
    epmd: { host, port: epmdPort, addresses: [] },
    signal: new AbortController().signal,
    clock: systemClock,
    log: createFakeLog(),
    ...changes,
  }
}

async function start(t: TestContext, epmdPort: number, changes: Partial<RegisterOptions> = {}): Promise<Registration> {
  const registration = await register(options(epmdPort, changes))
  t.after(() => registration.close())
  return registration
}

async function serve(t: TestContext, port = 0): Promise<EpmdServer> {
  const server = await serveEpmd({ port, addresses: [], log: createFakeLog() })
  t.after(() => server.close())
  return server
}

/** An epmd whose connections come one by one, after their request, to be answered by the test. */
async function startScripted(
  t: TestContext,
): Promise<{ port: number; next: () => Promise<Socket>; seen: () => number }> {
  const arrived: Socket[] = []
  let wake = () => {}
  let seen = 0
  const fake = await startFake((socket) => {
    socket.once('data', () => {
      seen++
      arrived.push(socket)
      wake()
    })
  })
  t.after(fake.close)
  return {
    port: fake.port,
    seen: () => seen,
    async next() {
      while (arrived.length === 0) await new Promise<void>((resolve) => (wake = resolve))
      return arrived.shift() as Socket
    },
  }
}

/** Lets the sockets do their work until `condition` holds. */
async function turnsUntil(condition: () => boolean): Promise<void> {
  while (!condition()) await turn()
}

/** Moves `clock` on as soon as a sleep is under way: time does not run ahead of the sockets. */
async function sleepFor(clock: ManualClock, ms: number): Promise<void> {
  await turnsUntil(() => clock.sleeping() > 0)
  await clock.advance(ms)
}

test('the epmd that is there is used, and the name is free again after the end', async (t) => {
  const epmd = await serve(t)
  const registration = await start(t, epmd.port)
  assert.equal(registration.serving, false)
  assert.equal(await lookUpPort('a', { host, port: epmd.port }), 4_000)
  await registration.close()
  await assert.rejects(lookUpPort('a', { host, port: epmd.port }), { code: 'not_registered' })
})

test('a node is announced as OTP does it, hidden or not', async (t) => {
  for (const [hidden, type] of [
    [true, '48'],
    [false, '4d'],
  ] as const) {
    const asked: Buffer[] = []
    const epmd = await startFake((socket) => {
      socket.on('data', (chunk) => {
        asked.push(chunk)
        socket.write(OK)
      })
    })
    t.after(epmd.close)
    await start(t, epmd.port, { basename: 'abc', port: 0x1234, hidden })
    assert.deepEqual(asked, [Buffer.from(`0010781234${type}000006000500036162630000`, 'hex')])
  }
})

test('where the port refuses it is served, until the end', async (t) => {
  const port = await freePort()
  const told: boolean[] = []
  const registration = await start(t, port, { onServing: (serving) => told.push(serving) })
  assert.equal(registration.serving, true)
  assert.equal(await lookUpPort('a', { host, port }), 4_000)
  await registration.close()
  assert.equal(registration.serving, false)
  assert.deepEqual(told, [true, false])
  await assert.rejects(lookUpPort('a', { host, port }), { code: 'epmd_unreachable' })
})

test('of 200 that find no epmd at once exactly one serves, and all are registered', async (t) => {
  const port = await freePort()
  // Time stands still: who was too late to serve waits for nothing.
  const clock = createManualClock()
  const all = await Promise.all(
    Array.from({ length: 200 }, (_, index) => start(t, port, { basename: `n${index}`, port: 1_000 + index, clock })),
  )
  assert.equal(all.filter(({ serving }) => serving).length, 1)
  const names = await registeredNames({ host, port })
  assert.deepEqual(new Set(names.map(({ name }) => name)), new Set(all.map((_, index) => `n${index}`)))
})

test('when the one that serves ends, another serves, and all the others come back', async (t) => {
  const port = await freePort()
  let serving = 0
  const all = await Promise.all(
    Array.from({ length: 20 }, (_, index) =>
      start(t, port, { basename: `n${index}`, onServing: (now) => (serving += now ? 1 : -1) }),
    ),
  )
  const owner = all.findIndex((registration) => registration.serving)
  await all[owner]?.close()
  const expected = new Set(all.map((_, index) => `n${index}`).filter((_, index) => index !== owner))
  const names = async () => (await registeredNames({ host, port }).catch(() => [])).map(({ name }) => name)
  while ((await names()).length < expected.size);
  assert.deepEqual(new Set(await names()), expected)
  assert.equal(serving, 1)
})

test('a name that is taken ends the first registration, and leaves nothing open', async (t) => {
  const epmd = await serve(t)
  await start(t, epmd.port)
  // Time stands still: it is not tried again.
  const second = register(options(epmd.port, { clock: createManualClock() }))
  await assert.rejects(second, { code: 'name_taken', message: /another name/ })
  assert.deepEqual(await registeredNames({ host, port: epmd.port }), [{ name: 'a', port: 4_000 }])
})

test('a lost registration is tried again within 100 ms, then every 2 s less jitter, whatever the answer, and told on change', async (t) => {
  const clock = createManualClock({ random: () => 0.5 })
  const log = createFakeLog()
  const epmd = await startScripted(t)
  const registering = start(t, epmd.port, { clock, log })
  const held = await epmd.next()
  held.write(OK)
  await registering
  held.destroy()
  await sleepFor(clock, 49)
  assert.equal(epmd.seen(), 1)
  await clock.advance(1)
  for (const answer of [TAKEN, TAKEN, Buffer.from('garbled'), Buffer.alloc(0)]) {
    const before = epmd.seen()
    ;(await epmd.next()).end(answer)
    await sleepFor(clock, 1_799)
    assert.equal(epmd.seen(), before)
    await clock.advance(1)
  }
  const again = await epmd.next()
  again.write(OK)
  await turnsUntil(() => log.lines.includes('info  is registered again'))
  assert.deepEqual(log.lines, [
    'info  the epmd has ended; registers again',
    'warn  cannot register again, and goes on trying',
    'warn  cannot register again, and goes on trying',
    'warn  cannot register again, and goes on trying',
    'info  is registered again',
  ])
})

test('an epmd that drops whom it has just taken back is not asked more often', async (t) => {
  const clock = createManualClock()
  const log = createFakeLog()
  const epmd = await startScripted(t)
  const registering = start(t, epmd.port, { clock, log })
  let connection = await epmd.next()
  connection.write(OK)
  await registering
  for (let count = 1; count < 5; count++) {
    connection.destroy()
    await sleepFor(clock, count === 1 ? 99 : 1_999)
    assert.equal(epmd.seen(), count)
    await clock.advance(1)
    connection = await epmd.next()
    connection.write(OK)
    await turnsUntil(() => log.lines.filter((line) => line.includes('is registered again')).length === count)
  }
})

test('the first registration outlasts an epmd that ends beside it, for 2 s', async (t) => {
  const clock = createManualClock()
  const epmd = await startScripted(t)
  const startedAt = clock.now()
  let isOver = false
  const over = assert
    .rejects(register(options(epmd.port, { clock })), { code: 'epmd_closed', message: /own machine/ })
    .finally(() => (isOver = true))
  for (let count = 1; count <= 21; count++) {
    ;(await epmd.next()).destroy()
    await turnsUntil(() => isOver || clock.sleeping() > 0)
    await clock.advance(100)
  }
  await over
  assert.equal(clock.now() - startedAt, 2_100)
  assert.equal(epmd.seen(), 21)
})

test('an epmd that is not on loopback and refuses is epmd_unreachable, and is not served here', async () => {
  const port = await freePort()
  // Loopback to the kernel, but not one of the forms that say so.
  const epmd = { host: '::ffff:127.0.0.1', port }
  await assert.rejects(register(options(port, { epmd })), { code: 'epmd_unreachable', message: /ECONNREFUSED/ })
  await assert.rejects(lookUpPort('a', { host, port }), { code: 'epmd_unreachable' })
})

test('an address that cannot be served is epmd_bind at once', async () => {
  const port = await freePort()
  const epmd = { host, port, addresses: ['here'] }
  await assert.rejects(register(options(port, { epmd, clock: createManualClock() })), { code: 'epmd_bind' })
})

test('the signal ends it in each state: waiting for an answer, registered, and trying again', async (t) => {
  const clock = createManualClock()
  const reason = new Error('enough')
  const epmd = await startScripted(t)
  const waiting = new AbortController()
  const never = register(options(epmd.port, { signal: waiting.signal, clock }))
  const unanswered = await epmd.next()
  waiting.abort(reason)
  await assert.rejects(never, reason)
  await (unanswered.closed || once(unanswered, 'close'))

  const held = new AbortController()
  const registering = register(options(epmd.port, { signal: held.signal, clock }))
  const connection = await epmd.next()
  connection.write(OK)
  const registration = await registering
  held.abort(reason)
  await (connection.closed || once(connection, 'close'))
  await registration.close()

  const trying = new AbortController()
  const losing = register(options(epmd.port, { signal: trying.signal, clock }))
  const lost = await epmd.next()
  lost.write(OK)
  const lonely = await losing
  lost.destroy()
  await turnsUntil(() => clock.sleeping() > 0)
  trying.abort(reason)
  await lonely.close()
  assert.equal(clock.sleeping(), 0)
  assert.equal(epmd.seen(), 3)
})

test('the signal ends the epmd that is served, too', async () => {
  const port = await freePort()
  const stop = new AbortController()
  const { promise: ended, resolve } = Promise.withResolvers<void>()
  const onServing = (serving: boolean) => void (serving || resolve())
  await register(options(port, { signal: stop.signal, onServing }))
  stop.abort()
  await ended
  await assert.rejects(lookUpPort('a', { host, port }), { code: 'epmd_unreachable' })
  await assert.rejects(register(options(port, { signal: stop.signal })), { name: 'AbortError' })
})
