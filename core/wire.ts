import * as z from 'zod/mini'
import { hash64 } from './hash.ts'
import { type Member, memberSchema, nodeNameSchema, observationSchema } from './member.ts'

/** What `GET /v1/topologies/{t}/members` answers. Ages in ms. */
export type MembersDocument = z.infer<typeof membersDocumentSchema>

const error = z.object({ code: z.string(), message: z.string() })
const outcome = z.enum(['complete', 'partial', 'failed'])

export const membersDocumentSchema = z.object({
  topology: z.string(),
  revision: z.string(),
  outcome,
  /** How long ago the oldest of its sources was asked. */
  ageMs: z.number(),
  /** A source fails now, and its last answer stands in for it. */
  stale: z.boolean(),
  members: z.array(memberSchema),
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
  connected: z.array(nodeNameSchema),
  state: z.optional(z.looseObject({})),
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
