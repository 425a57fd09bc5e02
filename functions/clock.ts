import { RollcallError } from '../core/error.ts'
import { MAX_TIMER_MS } from './within.ts'

/** Time and chance: one seam for everything that waits, in any runtime. */
export interface Clock {
  /** Ms since the Unix epoch. */
  readonly now: () => number
  /** 0 to 1, 1 excluded. */
  readonly random: () => number
  /** Resolves after `ms` (Infinity: never), or as soon as `signal` is aborted; never rejects. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>
}

/** The real clock. On Node its timers keep the process alive until they end or are aborted. */
export const systemClock: Clock = { now: Date.now, random: Math.random, sleep }

async function sleep(ms: number, signal: AbortSignal): Promise<void> {
  for (let left = ms; left > 0 && !signal.aborted; left -= MAX_TIMER_MS)
    await pause(Math.min(left, MAX_TIMER_MS), signal)
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(end, ms)
    signal.addEventListener('abort', end)
    function end(): void {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
  })
}

export interface DeadlineOptions {
  /** How long the work may take. */
  ms: number
  /** Ends it before that. */
  signal: AbortSignal
  clock: Clock
  /** What is expected, for the message: `[exec] expected an answer`. */
  expected: string
}

/**
 * Does `work` with a signal of its own. Rejects with `timeout` after `ms`, or with `aborted`, whether or not the work heeds
 * its signal: what it gives afterwards is dropped.
 */
export async function withDeadline<T>(
  work: (signal: AbortSignal) => Promise<T>,
  { ms, signal, clock, expected }: DeadlineOptions,
): Promise<T> {
  const own = new AbortController()
  const abort = () => own.abort(new RollcallError('aborted', `${expected}, got the end of the agent`))
  if (signal.aborted) abort()
  signal.addEventListener('abort', abort, { once: true })
  try {
    const overdue = clock.sleep(ms, own.signal).then(() => {
      if (!own.signal.aborted) own.abort(new RollcallError('timeout', `${expected} within ${ms} ms, got none`))
      throw own.signal.reason
    })
    // Begun in a promise: were `work` to throw outside of one, nobody would handle the end of `overdue`.
    const done = (async () => await work(own.signal))()
    return await Promise.race([overdue, done])
  } finally {
    signal.removeEventListener('abort', abort)
    own.abort()
  }
}

/** How long to wait after `failures` failures in a row: doubling from `baseMs` to `maxMs`, with jitter of 0.8 to 1.0. */
export function backoffMs(failures: number, limits: { baseMs: number; maxMs: number; clock: Clock }): number {
  const { baseMs, maxMs, clock } = limits
  return jitter(Math.min(maxMs, baseMs * 2 ** Math.min(failures, 30)), clock)
}

/** 0.8 to 1.0 of `ms`, so that what began together does not stay together. */
export function jitter(ms: number, clock: Clock): number {
  return ms * (0.8 + 0.2 * clock.random())
}
