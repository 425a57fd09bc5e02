export { backoffMs, type Clock, type DeadlineOptions, jitter, systemClock, withDeadline } from '../functions/clock.ts'
export { within } from '../functions/within.ts'

/** Lets everything else that is ready run first. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}
