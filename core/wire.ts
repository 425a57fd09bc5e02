import * as z from 'zod/mini'
import { hash64 } from './hash.ts'
import { type Member, memberSchema, nodeNameSchema, observationSchema } from './member.ts'
import type { NodeName } from './node.ts'

/** What `GET /v1/topologies/{t}/members` answers. Ages in ms. */
export type MembersDocument = z.infer<typeof membersDocumentSchema>

const error = z.object({ code: z.string(), message: z.string() })
const outcome = z.enum(['complete', 'partial', 'failed'])

export const membersDocumentSchema = z.object({
  topology: z.string(),
  /** Equal for equal members and source outcomes, on every host: {@link revisionOf}. */
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

/** What `GET /v1/topologies` answers: names, source ids, last outcome; no node names. */
export const topologiesDocumentSchema = z.object({
  topologies: z.array(
    z.object({
      topology: z.string(),
      sources: z.array(z.object({ source: z.string(), outcome: z.optional(outcome) })),
    }),
  ),
})

/** The body of `POST /v1/topologies/{t}/plan`. `state` is what an earlier answer gave, as it was. */
export const planRequestSchema = z.object({
  self: nodeNameSchema,
  /** 50000: five times the usual `maxMembers`, for links of other topologies count too. */
  connected: z.array(nodeNameSchema).check(z.maxLength(50_000)),
  state: z.optional(z.looseObject({})),
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

export { observationSchema }

/** Every member that any of the lists names, sorted by name. Named by several, the first stands, but `leaving` beats `up`. */
export function mergeMembers(lists: readonly (readonly Member[])[]): Member[] {
  const merged = new Map<NodeName, Member>()
  for (const member of lists.flat()) {
    const known = merged.get(member.node)
    if (known === undefined || (known.status === 'up' && member.status === 'leaving')) merged.set(member.node, member)
  }
  return [...merged.values()].sort((a, b) => (a.node < b.node ? -1 : 1))
}

/** Names content: equal for equal members and source outcomes, whatever the time, the order or the host. */
export function revisionOf(
  members: readonly Member[],
  sources: readonly { source: string; outcome: string }[],
): string {
  const canonical = members.map(({ node, status, id, address, meta }) =>
    JSON.stringify([
      node,
      status,
      id,
      address && [address.host, address.port],
      meta && Object.entries(meta).toSorted(([a], [b]) => (a < b ? -1 : 1)),
    ]),
  )
  return hash64(JSON.stringify([canonical.sort(), sources.map(({ source, outcome }) => `${outcome} ${source}`).sort()]))
}
