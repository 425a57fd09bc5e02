import type { Member } from '../../core/member.ts'
import type { NodeName } from '../../core/node.ts'

/** What the platform (DNS, an orchestrator, a registry) holds for true about who is a member: what all sources read. */
export interface Platform {
  list(node: NodeName, id: string): void
  /** It is about to end. */
  markLeaving(node: NodeName): void
  unlist(node: NodeName): void
  /** What it said `ageMs` ago. */
  members(ageMs: number): readonly Member[]
  entry(node: NodeName): Member | undefined
  /** When it last listed or unlisted anybody. */
  changedAt(): number
}

// No source lags more.
const REMEMBERED_MS = 3_600_000

/** Makes a platform that lists nobody. */
export function createPlatform(now: () => number): Platform {
  const entries = new Map<NodeName, Member>()
  const past: { at: number; members: readonly Member[] }[] = [{ at: -Infinity, members: [] }]

  function record(): void {
    const members = [...entries.values()].sort((a, b) => (a.node < b.node ? -1 : 1))
    past.push({ at: now(), members })
    while ((past[1]?.at ?? Infinity) < now() - REMEMBERED_MS) past.shift()
  }

  return {
    list(node, id) {
      entries.set(node, { node, status: 'up', id })
      record()
    },
    markLeaving(node) {
      const entry = entries.get(node)
      if (entry === undefined) return
      entries.set(node, { ...entry, status: 'leaving' })
      record()
    },
    unlist(node) {
      if (entries.delete(node)) record()
    },
    members(ageMs) {
      return past.findLast(({ at }) => at <= now() - ageMs)?.members ?? []
    },
    entry: (node) => entries.get(node),
    changedAt: () => past.at(-1)?.at ?? 0,
  }
}
