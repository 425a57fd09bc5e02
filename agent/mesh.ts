import { describeError } from '../core/error.ts'
import type { NodeName } from '../core/node.ts'
import { backoffMs, type Clock, withDeadline } from './clock.ts'
import type { Distribution } from './distributions/distribution.ts'
import type { AgentEvent } from './events.ts'

export interface MeshOptions {
  distribution: Distribution
  clock: Clock
  signal: AbortSignal
  emit: (event: AgentEvent) => void
  /** Whether a source lists the node, or did. */
  isMember: (node: NodeName) => boolean
}

/** The distribution as the loop sees it: its links and how they change, and how to leave it. */
export interface Mesh {
  /** Asks for the links and tells how they changed. Undefined while the distribution does not answer: then nothing is known. */
  look(): Promise<NodeName[] | undefined>
  /** The links when they were last known. */
  readonly links: () => ReadonlySet<NodeName>
  /** Why the distribution does not answer, while it does not. */
  trouble(): { code: string; message: string } | undefined
  /** Takes the node out of the mesh. Rejects where that failed; while it is under way or done, the same again. */
  leave(): Promise<void>
  /**
   * Takes the node out if it is to be `out`: once, and again after a failure or while members are linked, for peers that have
   * not heard of it yet dial it anew. A node that is to be in the mesh may leave another time.
   */
  keep(wish: { out: boolean }): void
  /** When to look again at the latest, or to repeat what failed, ms since the Unix epoch. */
  retryAt(): number
}

const LIST_TIMEOUT_MS = 10_000
const LEAVE_TIMEOUT_MS = 10_000
// How often a node that is down is looked for: it boots in seconds, and asking costs one attempt to connect.
const RETRY = { baseMs: 500, maxMs: 5_000 }
// Each further leave waits twice as long: peers that go on dialling have sources of another opinion.
const LEAVE_AGAIN = { baseMs: 5_000, maxMs: 300_000 }

/** Makes the loop's view of a distribution. */
export function createMesh({ distribution, clock, signal, emit, isMember }: MeshOptions): Mesh {
  let links: ReadonlySet<NodeName> = new Set()
  let trouble: { code: string; message: string } | undefined
  let unanswered = 0
  let departure: Promise<void> | undefined
  let leaveAt: number | undefined
  let departures = 0

  function noteLinks(listed: ReadonlySet<NodeName>): void {
    const before = links
    links = listed
    for (const node of listed) if (!before.has(node)) emit({ type: 'nodeup', node, message: 'linked' })
    for (const node of before) if (!listed.has(node)) emit({ type: 'nodedown', node, message: 'its link is gone' })
  }

  function noteTrouble(error: { code: string; message: string } | undefined): void {
    const before = trouble
    trouble = error
    unanswered = error === undefined ? 0 : unanswered + 1
    if (error !== undefined && error.code !== before?.code) emit({ type: 'distribution_unreachable', ...error })
    if (error === undefined && before !== undefined)
      emit({ type: 'distribution_recovered', message: 'the links can be listed again' })
  }

  async function depart(): Promise<void> {
    emit({ type: 'leaving', message: 'taking this node out of the mesh' })
    leaveAt = undefined
    const deadline = { ms: LEAVE_TIMEOUT_MS, signal, clock, expected: '[agent] expected to leave the mesh' }
    try {
      await withDeadline(() => distribution.leave([...links].filter(isMember)), deadline)
    } catch (error) {
      departure = undefined
      leaveAt = clock.now() + RETRY.maxMs
      emit({ type: 'leave_failed', ...describeError(error) })
      throw error
    }
    departures++
    emit({ type: 'left', message: 'this node has left the mesh' })
  }

  function leave(): Promise<void> {
    departure ??= depart()
    return departure
  }

  return {
    async look() {
      try {
        const deadline = { ms: LIST_TIMEOUT_MS, signal, clock, expected: '[agent] expected the list of links' }
        const listed = await withDeadline(() => distribution.list(), deadline)
        if (!Array.isArray(listed)) throw new TypeError(`[agent] expected a list of links, got ${typeof listed}`)
        noteTrouble(undefined)
        noteLinks(new Set(listed))
        return listed
      } catch (error) {
        if (!signal.aborted) noteTrouble(describeError(error))
        return undefined
      }
    },

    links: () => links,
    trouble: () => trouble,

    leave,

    keep({ out }) {
      if (!out) {
        departure = leaveAt = undefined
        departures = 0
        return
      }
      const now = clock.now()
      const isLinked = [...links].some(isMember)
      if (departures > 0 && !isLinked) leaveAt = undefined
      else if (departures > 0) leaveAt ??= now + Math.min(LEAVE_AGAIN.maxMs, LEAVE_AGAIN.baseMs * 2 ** (departures - 1))
      if (leaveAt !== undefined && leaveAt > now) return
      if (leaveAt !== undefined) departure = undefined
      leave().catch(() => undefined) // an event says so
    },

    retryAt() {
      const lookAt = unanswered === 0 ? Infinity : clock.now() + backoffMs(unanswered - 1, { ...RETRY, clock })
      return Math.min(lookAt, leaveAt ?? Infinity)
    },
  }
}
