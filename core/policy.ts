import * as z from 'zod/mini'
import { durationSchema } from './duration.ts'

/** What a topology does with what it learns. All durations in ms. */
export interface Policy {
  /** `absent` takes out nodes that the sources consistently leave out; `never` only ever connects. */
  disconnect: 'absent' | 'never'
  /** How long a node must be left out before it goes: longer than a readiness flap and twice a cluster DNS TTL. Never below 3 intervals. */
  grace: number
  /** How many answers must leave it out: one answer may be wrong, three in a row are a statement. */
  misses: number
  /** The share of members that may go within `confirm` without confirmation: more at once is rather a broken source. */
  budget: number
  /** How long the sources must insist on a removal beyond the budget, and how long doubt lasts: several deploys of a source. */
  confirm: number
  /** How long a member without link is remembered when no answer comes: longer than most outages of a source. */
  stale: number
  /** How long a leaving node keeps its link: above the 30 s that Kubernetes gives a pod to end. */
  drain: number
  /** How many dials may be under way at once: enough for any mesh of the usual size, no storm for a large one. */
  dialsPerRound: number
  /** How long a dial may take: above the 7 s of `net_setuptime`. */
  dialTimeout: number
  /** How fast a peer's penalty halves: a node that stayed up for some minutes is as good as new. */
  halfLife: number
  /** The longest wait between two dials: what a healed partition costs at most. */
  maxWait: number
  /** How many links make the mesh formed (readiness). 0: the answers of the sources do. */
  minPeers: number
  /** An answer with more members is cut there and taken as partial: a source that lists the world is wrong. */
  maxMembers: number
}

const count = (minimum: number) => z.int().check(z.minimum(minimum))

/** The policy in a config, with the defaults; each field of {@link Policy} says why. */
export const policySchema = z.strictObject({
  disconnect: z._default(z.enum(['absent', 'never']), 'absent'),
  grace: z._default(durationSchema, 60_000),
  misses: z._default(count(1), 3),
  budget: z._default(z.number().check(z.minimum(0), z.maximum(1)), 0.3),
  confirm: z._default(durationSchema, 300_000),
  stale: z._default(durationSchema, 3_600_000),
  drain: z._default(durationSchema, 60_000),
  dialsPerRound: z._default(count(1), 64),
  dialTimeout: z._default(durationSchema, 10_000),
  halfLife: z._default(durationSchema, 60_000),
  maxWait: z._default(durationSchema, 10_000),
  minPeers: z._default(count(0), 0),
  maxMembers: z._default(count(1), 10_000),
})

/** The policy of a topology that says nothing of it. */
export const defaultPolicy: Readonly<Policy> = policySchema.parse({})
