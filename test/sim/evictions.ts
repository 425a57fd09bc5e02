import type { NodeName } from '../../core/node.ts'

/** What a sidecar remembers of the nodes that it took out, as `agent/distributions/beam.ts` does. */
export interface Evictions {
  /** Why a node is not to be taken out yet: it was brought back within a minute, and each time the wait doubles. */
  refusal(node: NodeName): { code: string; message: string; retryAfterMs: number } | undefined
  note(node: NodeName): void
  /** A link to the node came up. */
  noteUp(node: NodeName): void
}

const UNDONE_MS = 60_000
const MAX_WAIT_MS = 3_600_000

/** Remembers nothing yet. */
export function createEvictions(now: () => number): Evictions {
  const evictions = new Map<NodeName, { at: number; waitMs: number; undone: boolean }>()
  return {
    refusal(node) {
      const { at, waitMs, undone } = evictions.get(node) ?? { at: 0, waitMs: 0, undone: false }
      const retryAfterMs = at + waitMs - now()
      if (!undone || retryAfterMs <= 0) return undefined
      return { code: 'eviction_undone', message: `${node} was brought back by somebody`, retryAfterMs }
    },
    note(node) {
      const before = evictions.get(node)
      const waitMs = before?.undone === true ? Math.min(2 * before.waitMs, MAX_WAIT_MS) : UNDONE_MS
      evictions.set(node, { at: now(), waitMs, undone: false })
    },
    noteUp(node) {
      const eviction = evictions.get(node)
      if (eviction !== undefined && now() - eviction.at <= UNDONE_MS) eviction.undone = true
    },
  }
}
