import * as z from 'zod/mini'
import { isNodeName, type NodeName } from './node.ts'

/** One node as a source lists it. `id` tells a restarted node from its predecessor under the same name. */
export interface Member {
  node: NodeName
  /** `leaving`: it said so itself, or its platform did (a terminating pod, say). */
  status: 'up' | 'leaving'
  id?: string
  /** Where to dial when the name alone does not tell. */
  address?: { host: string; port: number }
  meta?: Record<string, string>
}

/** What one ask of one source gave. `at` = ms since the Unix epoch, when the source itself was asked. */
export type Observation = { source: string; at: number } & (
  | { outcome: 'complete'; members: Member[] }
  | { outcome: 'partial'; members: Member[]; reason: string }
  | { outcome: 'failed'; members?: Member[]; error: { code: string; message: string; retryAfterMs?: number } }
)

const short = z.string().check(z.maxLength(255))

export const nodeNameSchema = z
  .string()
  .check(z.refine(isNodeName, { error: 'expected a node name like app@10.0.0.1 (one @, ASCII, at most 255 bytes)' }))

/** A port as a number. */
export const portNumber = z.int().check(z.minimum(1), z.maximum(65535))

export const memberSchema = z.object({
  node: nodeNameSchema,
  status: z.enum(['up', 'leaving']),
  id: z.optional(short),
  address: z.optional(z.object({ host: short, port: portNumber })),
  meta: z.optional(z.record(short, z.string().check(z.maxLength(1024)))),
})

/** A member that is up, from a name alone. */
export function up(node: NodeName): Member {
  return { node, status: 'up' }
}

/** Every member that any of the lists names, sorted by name. Named by several, the first stands, but `leaving` beats `up`. */
export function mergeMembers(lists: readonly (readonly Member[])[]): Member[] {
  const merged = new Map<NodeName, Member>()
  for (const member of lists.flat()) {
    const known = merged.get(member.node)
    if (known === undefined || (known.status === 'up' && member.status === 'leaving')) merged.set(member.node, member)
  }
  return [...merged.values()].sort(byName)
}

/** For members of different names. */
export function byName(a: Member, b: Member): number {
  return a.node < b.node ? -1 : 1
}
