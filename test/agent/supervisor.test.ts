import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { supervise } from '../../agent/supervisor.ts'
import { createManualClock, type ManualClock } from './manual-clock.ts'

function setUp(
  t: TestContext,
  open: (signal: AbortSignal, clock: ManualClock) => AsyncIterable<number>,
  { silenceMs = Infinity } = {},
) {
  const clock = createManualClock()
  const ended = new AbortController()
  t.after(() => ended.abort())
  const began = clock.now()
  const opened: number[] = []
  const items: number[] = []
  const errors: unknown[] = []
  const done = supervise(
    (signal) => {
      opened.push(clock.now() - began)
      return open(signal, clock)
    },
    {
      name: 'test',
      signal: ended.signal,
      clock,
      silenceMs,
      onItem: (item) => void items.push(item),
      onEnd: (error) => errors.push(error),
    },
  )
  return { clock, ended, opened, items, errors, done }
}

const codes = (errors: unknown[]) => errors.map((error) => (error as { code?: string }).code)

test('a stream that ends is opened again, ever more slowly up to 30 s', async (t) => {
  const { clock, opened, errors } = setUp(t, async function* () {})
  await clock.advance(180_000)
  assert.deepEqual(opened, [0, 2_000, 6_000, 14_000, 30_000, 60_000, 90_000, 120_000, 150_000, 180_000])
  assert.ok(codes(errors).every((code) => code === 'watch_ended'))
})

test('a stream that gives something and then fails, each time, is no better', async (t) => {
  const { clock, opened, items } = setUp(t, async function* () {
    yield 1
    throw new Error('broken')
  })
  await clock.advance(30_000)
  assert.deepEqual(opened, [0, 2_000, 6_000, 14_000, 30_000])
  assert.deepEqual(items, [1, 1, 1, 1, 1])
})

test('a stream that lived for long is opened again soon', async (t) => {
  const { clock, opened } = setUp(t, async function* (_signal, clock) {
    await clock.sleep(60_000, new AbortController().signal)
    yield 1
  })
  await clock.advance(125_000)
  assert.deepEqual(opened, [0, 61_000, 122_000])
})

test('a silent stream is taken for dead and told so by its signal', async (t) => {
  const signals: AbortSignal[] = []
  const { clock, errors } = setUp(
    t,
    (signal) => {
      signals.push(signal)
      return { [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => undefined) }) }
    },
    { silenceMs: 10_000 },
  )
  await clock.advance(10_000)
  assert.deepEqual(codes(errors), ['timeout'])
  assert.equal(signals[0]?.aborted, true)
})

test('a flood leaves turns to everybody else', async (t) => {
  const { items, ended, done } = setUp(t, async function* () {
    for (let item = 0; ; item++) yield item
  })
  for (let count = 0; count < 10; count++) await turn()
  assert.ok(items.length > 0 && items.length < 100, `${items.length} items in 10 turns`)
  ended.abort()
  await done
})

test('the signal ends a stream that hangs, runs its finally, and leaves no timer', async (t) => {
  let closed = false
  const { clock, ended, done } = setUp(t, async function* (signal, clock) {
    try {
      yield 1
      await clock.sleep(Infinity, signal)
    } finally {
      closed = true
    }
  })
  await clock.advance(1_000)
  ended.abort()
  await done
  await turn()
  assert.equal(closed, true)
  assert.equal(clock.sleeping(), 0)
})
