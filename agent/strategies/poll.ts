import { describeError, RollcallError } from '../../core/error.ts'
import type { Observation } from '../../core/member.ts'
import { observe, type Source, type SourceContext } from '../../functions/resolvers/source.ts'
import { type Clock, jitter, withDeadline } from '../clock.ts'

/** Asks once. Never throws: whatever goes wrong comes back as `failed`. */
export type Look = (signal: AbortSignal) => Promise<Observation>

export interface LookOptions {
  options: unknown
  context: Omit<SourceContext, 'signal'>
  clock: Clock
  /** When the look is given up, whether or not the source heeds its signal. */
  timeoutMs: number
}

// A source that ignores its signal may be asked again, but its hung looks must not pile up.
const MAX_HUNG = 4

/** The look of a source with a deadline of its own. A source that ignores its signal fails with `timeout`. */
export function createLook(source: Source<unknown>, { options, context, clock, timeoutMs }: LookOptions): Look {
  const name = context.source
  let hung = 0
  return async (signal) => {
    let pending = true
    let abandoned = false
    async function ask(own: AbortSignal): Promise<Observation> {
      try {
        return requireObservation(await observe(source, options, { ...context, signal: own }), name)
      } finally {
        pending = false
        if (abandoned) hung--
      }
    }
    try {
      if (hung >= MAX_HUNG)
        throw new RollcallError('timeout', `[${name}] expected an answer, got none: ${hung} looks hang`)
      return await withDeadline(ask, { ms: timeoutMs, signal, clock, expected: `[${name}] expected an answer` })
    } catch (error) {
      abandoned = pending && hung < MAX_HUNG
      if (abandoned) hung++
      return { source: name, at: clock.now(), outcome: 'failed', error: describeError(error) }
    }
  }
}

/** The observation that a source gave. Throws `bad_observation` where it is none: sources may be written by anybody. */
export function requireObservation(given: unknown, source: string): Observation {
  const { outcome, at, members, error } = (given ?? {}) as Record<string, unknown>
  const { code, message } = (error ?? {}) as Record<string, unknown>
  const isFailure = outcome === 'failed' && typeof code === 'string' && typeof message === 'string'
  const isList = Array.isArray(members)
  const isSound = isFailure
    ? isList || members === undefined
    : isList && (outcome === 'complete' || outcome === 'partial')
  if (isSound && Number.isFinite(at)) return given as Observation
  const got = `at ${String(at)}, outcome ${String(outcome)}`
  throw new RollcallError('bad_observation', `[${source}] expected an observation with its members, got ${got}`)
}

export interface PollOptions {
  intervalMs: number
  signal: AbortSignal
  clock: Clock
}

// However much a source fails: the longest that its recovery goes unseen.
const MAX_WAIT_MS = 30_000

/**
 * Makes a watch of a look: at once, then every 0.8 to 1.0 of the interval, counted from start to start. While it fails the wait
 * doubles, and grows to what the source asked for, but not above 30 s or the interval. An interval of 0 asks never.
 */
export async function* poll(look: Look, { intervalMs, signal, clock }: PollOptions): AsyncGenerator<Observation> {
  if (intervalMs === 0) await clock.sleep(Infinity, signal)
  let failures = 0
  while (!signal.aborted) {
    const startedAt = clock.now()
    const observation = await look(signal)
    if (signal.aborted) return
    // A failure with members was told by somebody who is well (a function whose own source fails): he is asked as ever.
    failures = observation.outcome === 'failed' && observation.members === undefined ? failures + 1 : 0
    const waitMs = waitAfter(observation, { failures, intervalMs, clock })
    yield observation
    // A clock that was set back must not make the wait longer, nor a slow look make it vanish.
    const elapsedMs = Math.max(0, clock.now() - startedAt)
    await clock.sleep(Math.max(waitMs - elapsedMs, waitMs / 10), signal)
  }
}

function waitAfter(
  observation: Observation,
  { failures, intervalMs, clock }: { failures: number; intervalMs: number; clock: Clock },
): number {
  if (observation.outcome !== 'failed' || failures === 0) return jitter(intervalMs, clock)
  const wanted = Math.max(intervalMs * 2 ** Math.min(failures - 1, 30), observation.error.retryAfterMs ?? 0)
  return jitter(Math.min(wanted, Math.max(intervalMs, MAX_WAIT_MS)), clock)
}
