import { backoffMs, type Clock } from '../clock.ts'

// However much a source fails: the longest that its recovery goes unseen.
const MAX_BACKOFF_MS = 30_000
// What may come at once before changes are taken at the pace of a poll: the number that Consul's page on blocking queries names.
const BURST = 2

/** How long to leave a failing source alone, in ms: doubling from the interval, and at least what it asked for, but not above 30 s or the interval. */
export function failureWaitMs(
  { retryAfterMs = 0 }: { readonly retryAfterMs?: number | undefined },
  { failures, intervalMs, clock }: { failures: number; intervalMs: number; clock: Clock },
): number {
  const maxMs = Math.max(intervalMs, MAX_BACKOFF_MS)
  return Math.max(backoffMs(failures, { baseMs: intervalMs, maxMs, clock }), Math.min(retryAfterMs, maxMs))
}

/** A token bucket: takes one, and waits until there is another. So many are there at first, and one comes each interval. */
export function createLimit(intervalMs: number, clock: Clock): (signal: AbortSignal) => Promise<void> {
  let tokens = BURST
  let filledAt = clock.now()
  return async (signal) => {
    const now = clock.now()
    // A clock that was set back fills nothing, and takes nothing away.
    tokens = Math.min(BURST, tokens + Math.max(0, now - filledAt) / intervalMs)
    filledAt = now
    tokens -= 1
    if (tokens < 1) await clock.sleep((1 - tokens) * intervalMs, signal)
  }
}
