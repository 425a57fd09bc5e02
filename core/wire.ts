import * as z from 'zod/mini'
import { memberSchema } from './member.ts'

/** What `GET /v1/topologies/{t}/members` answers. Ages in ms. */
export type MembersDocument = z.infer<typeof membersDocumentSchema>

const error = z.object({ code: z.string(), message: z.string() })
const outcome = z.enum(['complete', 'partial', 'failed'])

export const membersDocumentSchema = z.object({
  topology: z.string(),
  /** Equal for equal members and source outcomes, on every host: `revisionOf`. */
  revision: z.string(),
  /** `complete`: every source said so. `failed`: none answers now. `partial`: anything between. */
  outcome,
  /** How long ago the oldest of the answers in it was asked for: the largest `ageMs` of the sources that have one. */
  ageMs: z.number(),
  /** A source fails now, and its last answer stands in for it. */
  stale: z.boolean(),
  members: z.array(memberSchema),
  /** `ageMs`: how long ago its last answer was asked for, of a failed one too; without any answer, when it failed. */
  sources: z.array(z.object({ source: z.string(), outcome, ageMs: z.number(), error: z.optional(error) })),
})

/** What `PUT` and `DELETE` of a member answer; with `Prefer: return=representation` the members document too, in one object. */
export const registeredDocumentSchema = z.object({
  /** How long the lease lasts: renew every third of it. */
  ttlMs: z.number(),
  revision: z.string(),
})

/** What `GET /v1/topologies` answers: names, source ids, last outcome; no node names. */
export const topologiesDocumentSchema = z.object({
  topologies: z.array(
    z.object({
      topology: z.string(),
      sources: z.array(z.object({ source: z.string(), outcome: z.optional(outcome) })),
    }),
  ),
})

const address = z.object({ host: z.string(), port: z.number() })

/** What `POST /v1/topologies/{t}/plan` answers: a `Plan`. */
export const planDocumentSchema = z.object({
  connect: z.array(
    z.object({
      node: z.string(),
      address: z.optional(address),
      attempt: z.number(),
      reason: z.enum(['new', 'lost', 'retry']),
    }),
  ),
  disconnect: z.array(z.object({ node: z.string(), reason: z.enum(['leaving', 'absent']) })),
  hold: z.array(z.object({ node: z.string(), reason: z.string(), until: z.optional(z.number()) })),
  leave: z.boolean(),
  topologies: z.record(
    z.string(),
    z.object({
      formed: z.boolean(),
      guard: z.optional(z.object({ absent: z.number(), members: z.number(), until: z.number() })),
      sources: z.record(
        z.string(),
        z.object({
          outcome: z.optional(outcome),
          at: z.optional(z.number()),
          staleSince: z.optional(z.number()),
          members: z.number(),
          doubted: z.optional(z.literal(true)),
          error: z.optional(error),
        }),
      ),
    }),
  ),
  events: z.array(
    z.object({
      type: z.string(),
      topology: z.optional(z.string()),
      source: z.optional(z.string()),
      node: z.optional(z.string()),
      message: z.string(),
    }),
  ),
  /** To be sent along, as it is, with the next request. */
  state: z.looseObject({ version: z.number(), self: z.string() }),
  recheckAt: z.number(),
})

/** RFC 9457 problem details; `code` is stable. */
export const problemSchema = z.object({
  type: z.string(),
  title: z.string(),
  status: z.number(),
  code: z.string(),
  detail: z.string(),
})
