import { hash32 } from './hash.ts'
import type { NodeName } from './node.ts'
import type { PeerState } from './state.ts'

// 2^8 first waits are more than any sensible maxWait; without a cap a peer dead for a day would be damped for minutes once back.
const MAX_PENALTY = 8
// Below this a penalty moves the first wait by a few per cent: not worth remembering.
const NEGLIGIBLE = 0.05
// The first wait as a share of maxWait: 250 ms of 10 s, short beside an interval, long beside a dial.
const FIRST_WAIT = 1 / 40

/** What is left of a penalty at `now`: it halves every `halfLifeMs`, and is 0 once negligible. */
export function decayedPenalty(
  { penalty = 0, penaltyAt = 0 }: Pick<PeerState, 'penalty' | 'penaltyAt'>,
  now: number,
  halfLifeMs: number,
): number {
  const left = penalty * 0.5 ** (Math.max(0, now - penaltyAt) / Math.max(1, halfLifeMs))
  return left < NEGLIGIBLE ? 0 : left
}

/** The penalty after one more failed dial or lost link. Rounded, for State is JSON. */
export function raisedPenalty(before: number): number {
  return Math.round(Math.min(MAX_PENALTY, before + 1) * 1_000) / 1_000
}

/**
 * How long to wait before the next dial, in ms: doubles with each unit of penalty up to `maxWaitMs`, less up to half of it by a
 * jitter that follows from who dials whom for which time, so that a recorded round can be replayed.
 */
export function dialWait(
  penalty: number,
  maxWaitMs: number,
  { self, peer, attempt }: { self: NodeName; peer: NodeName; attempt: number },
): number {
  const full = Math.min(maxWaitMs, maxWaitMs * FIRST_WAIT * (2 ** penalty - 1))
  return Math.round(full * (1 - hash32(`${self} ${peer} ${attempt}`) / 2 ** 33))
}
