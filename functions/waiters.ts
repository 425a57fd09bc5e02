import type { Observer } from './observer.ts'

/** Those who wait for the view of one topology to change. */
export interface Waiters {
  /**
   * Resolves once the view is another than that of `etag`, and in any case after `ms`, with `signal`, or when the host ends.
   * Undefined where as many wait as may.
   */
  wait(etag: string, options: { ms: number; signal: AbortSignal }): Promise<undefined> | undefined
}

interface Waiter {
  readonly etag: string
  readonly end: () => void
}

/** Makes the waiters of a topology, until `ending`. While anybody waits its sources are asked at their interval: nobody else does. */
export function createWaiters(observer: Observer, ending: AbortSignal): Waiters {
  const { intervalMs, policy } = observer.config
  const waiting = new Set<Waiter>()
  let next: ReturnType<typeof setTimeout> | undefined

  function askLater(): void {
    // A topology that is asked on demand alone has no interval: who registers wakes its waiters all the same.
    if (intervalMs === 0) return
    const own = setTimeout(() => void ask(), observer.retryAfterMs())
    next = own

    async function ask(): Promise<void> {
      await observer.refresh()
      if (next === own) askLater()
    }
  }

  function wake(): void {
    const etag = observer.view()?.etag
    for (const waiter of waiting) if (waiter.etag !== etag) waiter.end()
  }

  observer.onAnswer(() => {
    if (waiting.size > 0) wake()
  })
  ending.addEventListener('abort', () => {
    for (const { end } of waiting) end()
  })

  return {
    wait(etag, { ms, signal }) {
      // As many as may be members: each has an agent of its own.
      if (waiting.size >= policy.maxMembers || ending.aborted) return undefined
      const { promise, resolve } = Promise.withResolvers<undefined>()
      const timer = setTimeout(end, ms)
      const waiter = { etag, end }
      waiting.add(waiter)
      if (waiting.size === 1) askLater()
      signal.addEventListener('abort', end)
      if (signal.aborted) end()
      return promise

      function end(): void {
        clearTimeout(timer)
        signal.removeEventListener('abort', end)
        waiting.delete(waiter)
        if (waiting.size === 0) {
          clearTimeout(next)
          next = undefined
        }
        resolve(undefined)
      }
    },
  }
}
