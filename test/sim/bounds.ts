import type { AgentView } from './world.ts'

type Rules = Pick<AgentView, 'policy' | 'intervalMs'>

// How long a dial that began before a partition healed still hangs, above what the network itself takes.
const SETUP_MS = 8_000
// The longest that a link outlives the host at its other end.
const TICK_MS = 75_000
// The longest that a source that failed goes unasked.
const POLL_BACKOFF_MS = 30_000
// How long a cut that the other side disputed is not tried again.
const DISPUTE_MS = 60_000

/** How long after the network is well again the mesh may take to be whole: one interval, the longest wait, and a dial under way. */
export function healingMs({ policy, intervalMs }: Rules): number {
  return intervalMs + policy.maxWait + SETUP_MS
}

/**
 * How long after the last fault links may take to be as wanted: doubt ends after `confirm`, and then a removal of any size
 * takes `grace` and another `confirm`; before that the last link to a dead host has ended and every source was asked again.
 */
export function settlingMs(rules: Rules): number {
  const { policy, intervalMs } = rules
  const doubtMs = Math.max(POLL_BACKOFF_MS, intervalMs) + TICK_MS + policy.confirm
  const removalMs = Math.max(policy.grace, 3 * intervalMs) + policy.confirm + DISPUTE_MS
  return doubtMs + removalMs + 6 * intervalMs + healingMs(rules)
}
