import { setImmediate as turn } from 'node:timers/promises'
import type { Clock } from '../../agent/clock.ts'

/** A clock that stands still until a test moves it. */
export interface ManualClock extends Clock {
  /** Moves time on by `ms`, ending each sleep at its own instant, and lets all that follows from it happen. */
  advance(ms: number): Promise<void>
  /** How many sleeps are under way. */
  sleeping(): number
}

// Enough turns of the event loop for a chain of promises from a source through a plan to a dial and back.
const TURNS = 12

/** Makes a clock that begins at an arbitrary, fixed instant; `random` gives what it is told. */
export function createManualClock({ random = (): number => 1 } = {}): ManualClock {
  let now = 1_700_000_000_000
  const sleeps = new Set<{ at: number; end: () => void }>()

  return {
    now: () => now,
    random,
    sleeping: () => sleeps.size,

    sleep(ms, signal) {
      if (ms <= 0 || signal.aborted) return Promise.resolve()
      const { promise, resolve } = Promise.withResolvers<void>()
      const sleep = { at: now + ms, end }
      function end(): void {
        sleeps.delete(sleep)
        signal.removeEventListener('abort', end)
        resolve()
      }
      sleeps.add(sleep)
      signal.addEventListener('abort', end)
      return promise
    },

    async advance(ms) {
      const until = now + ms
      await settle()
      for (;;) {
        const next = Math.min(...[...sleeps].map(({ at }) => at))
        if (next > until) break
        now = Math.max(now, next)
        for (const sleep of sleeps) if (sleep.at <= now) sleep.end()
        await settle()
      }
      now = until
    },
  }
}

async function settle(): Promise<void> {
  for (let count = 0; count < TURNS; count++) await turn()
}
