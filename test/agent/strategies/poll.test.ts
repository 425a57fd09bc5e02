import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { createLook, type Look, poll } from '../../../agent/strategies/poll.ts'
import { RollcallError } from '../../../core/error.ts'
import type { Observation } from '../../../core/member.ts'
import type { Source } from '../../../functions/resolvers/source.ts'
import { complete, createFakeLog, looking } from '../fakes.ts'
import { createManualClock, type ManualClock } from '../manual-clock.ts'

/** Reads a poll to its end and notes when it looked and what it gave. */
function follow(
  t: TestContext,
  look: (clock: ManualClock) => Look,
  { intervalMs = 5_000, random = (): number => 1 } = {},
) {
  const clock = createManualClock({ random })
  const ended = new AbortController()
  t.after(() => ended.abort())
  const began = clock.now()
  const looks: number[] = []
  const given: Observation[] = []
  const asked: Look = async (signal) => {
    looks.push(clock.now() - began)
    return await look(clock)(signal)
  }
  const done = (async () => {
    for await (const observation of poll(asked, { intervalMs, signal: ended.signal, clock })) given.push(observation)
  })()
  return { clock, ended, looks, given, done }
}

const answers =
  (clock: ManualClock): Look =>
  async () =>
    complete('s', clock.now(), [])
const fails =
  (retryAfterMs?: number) =>
  (clock: ManualClock): Look =>
  async () => ({
    source: 's',
    at: clock.now(),
    outcome: 'failed',
    error: { code: 'down', message: '', ...(retryAfterMs !== undefined && { retryAfterMs }) },
  })

test('a poll looks at once and then every interval', async (t) => {
  const { clock, looks, given } = follow(t, answers)
  await clock.advance(10_000)
  assert.deepEqual(looks, [0, 5_000, 10_000])
  assert.equal(given.length, 3)
})

test('each wait is 0.8 to 1.0 of the interval', async (t) => {
  const chances = [0, 0.5, 1]
  const { clock, looks } = follow(t, answers, { random: () => chances.shift() ?? 1 })
  await clock.advance(13_500)
  assert.deepEqual(looks, [0, 4_000, 8_500, 13_500])
})

test('the interval counts from start to start, and a look slower than it still leaves a pause', async (t) => {
  const slow = (ms: number) => (clock: ManualClock) => async (signal: AbortSignal) => {
    await clock.sleep(ms, signal)
    return complete('s', clock.now(), [])
  }
  const some = follow(t, slow(2_000))
  await some.clock.advance(10_000)
  assert.deepEqual(some.looks, [0, 5_000, 10_000])
  const all = follow(t, slow(8_000))
  await all.clock.advance(17_000)
  assert.deepEqual(all.looks, [0, 8_500, 17_000])
})

test('the waits of a failing source double up to 30 s, and begin anew once it answers', async (t) => {
  let isDown = true
  const { clock, looks } = follow(t, (at) => (isDown ? fails()(at) : answers(at)))
  await clock.advance(95_000)
  assert.deepEqual(looks, [0, 5_000, 15_000, 35_000, 65_000, 95_000])
  isDown = false
  await clock.advance(30_000)
  isDown = true
  await clock.advance(10_000)
  assert.deepEqual(looks.slice(6), [125_000, 130_000, 135_000])
})

test('a stale answer is no failure of who told it: it is asked at its interval', async (t) => {
  const { clock, looks } = follow(t, (at) => async (signal) => ({ ...(await fails()(at)(signal)), members: [] }))
  await clock.advance(20_000)
  assert.deepEqual(looks, [0, 5_000, 10_000, 15_000, 20_000])
})

test('a failing source with an interval above 30 s is asked at its interval', async (t) => {
  const { clock, looks } = follow(t, fails(), { intervalMs: 120_000 })
  await clock.advance(360_000)
  assert.deepEqual(looks, [0, 120_000, 240_000, 360_000])
})

test('a source that asks to be left alone is, but not above 30 s', async (t) => {
  const some = follow(t, fails(12_000))
  await some.clock.advance(12_000)
  assert.deepEqual(some.looks, [0, 12_000])
  const ages = follow(t, fails(86_400_000))
  await ages.clock.advance(30_000)
  assert.deepEqual(ages.looks, [0, 30_000])
})

test('a source that asks for less than the interval is not asked more often', async (t) => {
  const { clock, looks } = follow(t, fails(0))
  await clock.advance(5_000)
  assert.deepEqual(looks, [0, 5_000])
})

test('an interval of 0 never looks', async (t) => {
  const { clock, looks, ended, done } = follow(t, answers, { intervalMs: 0 })
  await clock.advance(86_400_000)
  assert.deepEqual(looks, [])
  ended.abort()
  await done
})

test('the signal ends a poll in its sleep and leaves no timer', async (t) => {
  const { clock, ended, done } = follow(t, answers)
  await clock.advance(1_000)
  assert.equal(clock.sleeping(), 1)
  ended.abort()
  await done
  assert.equal(clock.sleeping(), 0)
})

function lookOf(source: Source<unknown>, timeoutMs = 1_000) {
  const clock = createManualClock()
  const context = { source: 's', now: clock.now, log: createFakeLog(), fetch }
  return { clock, look: createLook(source, { options: {}, context, clock, timeoutMs }) }
}

const { signal } = new AbortController()

test('what a look throws comes back as failed, with its code', async () => {
  const { look } = lookOf(
    looking(async () => {
      throw new RollcallError('refused', '[test] expected an answer, got none', { retryAfterMs: 7 })
    }),
  )
  const observation = await look(signal)
  assert.equal(observation.outcome, 'failed')
  assert.deepEqual(observation.outcome === 'failed' && observation.error, {
    code: 'refused',
    message: '[test] expected an answer, got none',
    retryAfterMs: 7,
  })
})

test('a look that hangs is failed with timeout, and its signal says so', async () => {
  let own: AbortSignal | undefined
  const { clock, look } = lookOf(
    looking((_options, context) => {
      own = context.signal
      return new Promise(() => undefined)
    }),
  )
  const looking_ = look(signal)
  await clock.advance(999)
  assert.equal(own?.aborted, false)
  await clock.advance(1)
  const observation = await looking_
  assert.equal(observation.outcome === 'failed' && observation.error.code, 'timeout')
  assert.equal(own?.aborted, true)
})

test('an answer ends the deadline of its look', async () => {
  const { clock, look } = lookOf(looking(async (_options, { now }) => complete('s', now(), [])))
  assert.equal((await look(signal)).outcome, 'complete')
  assert.equal(clock.sleeping(), 0)
})

for (const [what, given] of Object.entries({
  nothing: undefined,
  'no time': { outcome: 'complete', members: [] },
  'a time that is no number': { at: 'now', outcome: 'complete', members: [] },
  'no members': { at: 1, outcome: 'complete' },
  'another outcome': { at: 1, outcome: 'empty', members: [] },
  'a failure without an error': { at: 1, outcome: 'failed' },
  'a failure with members that are no list': {
    at: 1,
    outcome: 'failed',
    members: 5,
    error: { code: 'a', message: 'b' },
  },
})) {
  test(`a look that gives ${what} is failed with bad_observation`, async () => {
    const { look } = lookOf(looking(async () => given as unknown as Observation))
    const observation = await look(signal)
    assert.equal(observation.outcome === 'failed' && observation.error.code, 'bad_observation')
  })
}
