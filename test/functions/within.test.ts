import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { describe, it } from 'node:test'
import { isOverdue, within } from '../../functions/within.ts'

const LONG_MS = 600_000

/** Resolves with the reason once the signal is aborted. */
function abortOf(signal: AbortSignal): Promise<unknown> {
  const { promise, resolve } = Promise.withResolvers<unknown>()
  if (signal.aborted) resolve(signal.reason)
  signal.addEventListener('abort', () => resolve(signal.reason))
  return promise
}

describe('work within a time', () => {
  it('gives what the work gives, and leaves nothing with the signal or the event loop', async () => {
    const { signal } = new AbortController()
    const timers = () => process.getActiveResourcesInfo().filter((resource) => resource === 'Timeout').length
    const before = timers()
    let own: AbortSignal | undefined
    const given = await within({ ms: LONG_MS, signal }, async (limit) => {
      own = limit
      assert.equal(limit.aborted, false)
      assert.deepEqual([getEventListeners(signal, 'abort').length, timers()], [1, before + 1])
      return 'given'
    })
    assert.equal(given, 'given')
    assert.deepEqual([getEventListeners(signal, 'abort').length, timers()], [0, before])
    assert.equal(own?.aborted, true, 'what the work has begun beside ends with it')
  })

  it('throws what the work throws, and leaves as little', async () => {
    const { signal } = new AbortController()
    const failing = within({ ms: LONG_MS, signal }, async () => assert.fail('of the work'))
    await assert.rejects(failing, { message: 'of the work' })
    assert.equal(getEventListeners(signal, 'abort').length, 0)
  })

  it('aborts the signal of the work when the time is over', async () => {
    const reason = await within({ ms: 1 }, async (limit) => {
      await abortOf(limit)
      assert.equal(isOverdue(limit), true)
      return limit.reason
    })
    assert.match(String(reason), /no end within 1 ms/)
  })

  it('aborts it with the reason of the signal, also where that has been aborted before', async () => {
    const ending = new AbortController()
    const reason = new Error('of the caller')
    const asked = within({ ms: LONG_MS, signal: ending.signal }, async (limit) => [
      await abortOf(limit),
      isOverdue(limit),
    ])
    ending.abort(reason)
    assert.deepEqual(await asked, [reason, false])
    assert.equal(await within({ ms: LONG_MS, signal: ending.signal }, abortOf), reason)
  })

  it('takes a time that no timer can count', async () => {
    assert.equal(await within({ ms: Infinity }, async (limit) => limit.aborted), false)
  })
})
