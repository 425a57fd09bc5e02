export { backoffMs, type Clock, type DeadlineOptions, jitter, systemClock, withDeadline } from '../functions/clock.ts'

/** Lets everything else that is ready run first. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}
