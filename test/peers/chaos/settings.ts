import { policySchema } from '../../../core/policy.ts'

/** How often each source is asked, ms: the mesh of a test is to heal in seconds. */
export const INTERVAL_MS = 1_000

/** As short as the interval allows; the rest, so the longest wait between two dials, is as it is by default. */
export const POLICY = policySchema.parse({ grace: '5s', confirm: '20s' })

/**
 * `net_ticktime` of the Erlang nodes in s: one that is cut off is noticed in 6 to 10 s, so that a fault of 12 s is felt, and 8 s
 * without a turn of the processor are no matter of two cores that others use too. Members have the 60 s that OTP has by default.
 */
export const TICK_TIME_S = 8

export const COOKIE = 'chaos'
export const BASENAME = 'app'
export const ZONE = 'chaos.test'
export const TOPOLOGY = 'web'
export const EPMD_PORT = 4369
export const FUNCTION_PORT = 8787
export const AGENT_PORT = 8788
