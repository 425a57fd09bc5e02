import { describeError } from '../core/error.ts'
import type { NodeName } from '../core/node.ts'
import type { Plan, PlanInput } from '../core/plan.ts'
import { type Clock, type DeadlineOptions, withDeadline } from './clock.ts'
import type { Distribution } from './distributions/distribution.ts'
import type { AgentEvent } from './events.ts'

export interface DiallerOptions {
  distribution: Distribution
  clock: Clock
  /** Ends all that is under way. */
  signal: AbortSignal
  dialTimeoutMs: number
  emit: (event: AgentEvent) => void
  /** Called when something ended, so that the next plan may know. */
  wake: () => void
}

/** Carries out plans: dials and cuts in parallel, each with its own deadline, and remembers what came of them. */
export interface Dialler {
  /** Starts what the plan orders and forgets what it does not speak of any more. */
  carryOut(plan: Plan, links: ReadonlySet<NodeName>): void
  /** Ends the dials under way: nobody is to be linked any more. */
  recall(): void
  /** How the dials ended since the last call. */
  takeOutcomes(): NonNullable<PlanInput['outcomes']>
  /** Why the peers that were dialled last without success have no link. */
  failures(): ReadonlyMap<NodeName, { code: string; message: string }>
  /** The plan with the cuts that the distribution disputes shown as held. */
  amend(plan: Plan): Plan
  /** Whether a dial or a cut is under way. */
  isBusy(): boolean
  /** When a refused cut is to be tried again, ms since the Unix epoch. */
  retryAt(): number
}

interface CutAnswer {
  readonly reason: 'leaving' | 'absent'
  /** Absent: it was done, though the link may be listed for a while yet. */
  readonly code?: string
  readonly retryAt: number
}

const CUT_TIMEOUT_MS = 10_000
// A link that is listed though it was cut, or that could not be cut: as often as a source is asked.
const CUT_RETRY_MS = 5_000
// The other side may lose the agent that disputes; nothing tells us, so it is asked again.
const DISPUTE_RETRY_MS = 60_000

/** Makes the dialler of one distribution. */
export function createDialler(options: DiallerOptions): Dialler {
  const { distribution, clock, signal, dialTimeoutMs, emit, wake } = options
  const dials = new Set<NodeName>()
  const cuts = new Set<NodeName>()
  const failures = new Map<NodeName, { code: string; message: string }>()
  const answers = new Map<NodeName, CutAnswer>()
  let dialling = new AbortController()
  let outcomes: { node: NodeName; ok: boolean; code?: string }[] = []

  /** What went wrong within the time, if anything did. */
  async function attempt(
    work: (own: AbortSignal) => Promise<void>,
    limits: Pick<DeadlineOptions, 'ms' | 'signal' | 'expected'>,
  ) {
    try {
      await withDeadline(work, { ...limits, clock })
      return undefined
    } catch (error) {
      return describeError(error)
    }
  }

  async function dial({ node, address }: Plan['connect'][number]): Promise<void> {
    // The plan may give a dial up a moment before its deadline does; two at once would be in each other's way.
    if (dials.has(node)) return
    dials.add(node)
    const { signal: sweep } = dialling
    const connect = (own: AbortSignal) => distribution.connect(node, { ...(address && { address }), signal: own })
    const error = await attempt(connect, {
      ms: dialTimeoutMs,
      signal: sweep,
      expected: `[agent] expected a link to ${node}`,
    })
    dials.delete(node)
    if (signal.aborted) return
    outcomes.push({ node, ok: error === undefined, ...(error && { code: error.code }) })
    if (error !== undefined && !sweep.aborted) {
      if (error.code !== failures.get(node)?.code) emit({ type: 'dial_failed', node, ...error })
      failures.set(node, error)
    }
    wake()
  }

  async function cut({ node, reason }: Plan['disconnect'][number]): Promise<void> {
    const before = answers.get(node)
    if (cuts.has(node) || (before?.reason === reason && clock.now() < before.retryAt)) return
    cuts.add(node)
    const disconnect = (own: AbortSignal) => distribution.disconnect(node, { reason, signal: own })
    const error = await attempt(disconnect, {
      ms: CUT_TIMEOUT_MS,
      signal,
      expected: `[agent] expected the link to ${node} to be cut`,
    })
    cuts.delete(node)
    if (signal.aborted) return
    const disputed = error?.code === 'disputed'
    const retryAt = clock.now() + (error?.retryAfterMs ?? (disputed ? DISPUTE_RETRY_MS : CUT_RETRY_MS))
    answers.set(node, { reason, retryAt, ...(error && { code: error.code }) })
    if (error !== undefined && (error.code !== before?.code || reason !== before.reason)) {
      emit({ type: disputed ? 'disconnect_disputed' : 'disconnect_failed', node, ...error })
    }
    wake()
  }

  function isDisputed(node: NodeName): boolean {
    return answers.get(node)?.code === 'disputed'
  }

  function recall(): void {
    dialling.abort()
    if (!signal.aborted) dialling = new AbortController()
  }

  signal.addEventListener('abort', recall, { once: true })
  return {
    recall,

    carryOut(plan, links) {
      if (plan.leave) recall()
      const known = new Set([...plan.connect, ...plan.hold].map(({ node }) => node))
      for (const node of failures.keys()) if (links.has(node) || !known.has(node)) failures.delete(node)
      const unwanted = new Set(plan.disconnect.map(({ node }) => node))
      for (const node of answers.keys()) if (!unwanted.has(node)) answers.delete(node)
      for (const order of plan.connect) void dial(order)
      for (const order of plan.disconnect) void cut(order)
    },

    takeOutcomes() {
      const taken = outcomes
      outcomes = []
      return taken
    },

    failures: () => failures,

    amend(plan) {
      const held = plan.disconnect.flatMap(({ node }) => {
        const until = isDisputed(node) ? answers.get(node)?.retryAt : undefined
        return until === undefined ? [] : [{ node, reason: 'disputed' as const, until }]
      })
      if (held.length === 0) return plan
      const disconnect = plan.disconnect.filter(({ node }) => !isDisputed(node))
      return { ...plan, disconnect, hold: [...plan.hold, ...held] }
    },

    isBusy: () => dials.size > 0 || cuts.size > 0,
    // A cut that is under way wakes the loop when it ends.
    retryAt: () => Math.min(...[...answers].map(([node, { retryAt }]) => (cuts.has(node) ? Infinity : retryAt))),
  }
}
