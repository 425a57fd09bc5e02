import { describeError } from '../core/error.ts'
import type { Observation } from '../core/member.ts'
import type { NodeName } from '../core/node.ts'
import type { Plan } from '../core/plan.ts'
import { type Clock, withDeadline } from './clock.ts'
import type { OpenSource } from './strategies/index.ts'
import type { World } from './world.ts'

/** What a round could not do: a source did not answer, a peer could not be dialled, or the mesh itself is out of reach. */
export interface AgentFailure {
  topology?: string
  source?: string
  node?: NodeName
  code: string
  message: string
}

/** What one round came to. */
export interface Discovery {
  connected: NodeName[]
  errors: AgentFailure[]
}

export interface DiscoverOptions {
  timeoutMs: number
  clock: Clock
  signal: AbortSignal
  plan: () => Plan | undefined
  /** Puts an observation before the next plan, and resolves when that was made. */
  deliver: (source: OpenSource, observation: Observation) => Promise<void>
  /** Resolves at the end of the next round of the loop. */
  nextRound: () => Promise<void>
}

/** Asks every source once and waits until the loop has planned with the answers and all dials have ended, or the time is over. */
export async function discover({ sources, mesh, dialler }: World, options: DiscoverOptions): Promise<Discovery> {
  const { timeoutMs: ms, clock, signal, plan, deliver, nextRound } = options
  const errors: AgentFailure[] = []
  const unheard = new Set(sources)

  async function ask(source: OpenSource, own: AbortSignal): Promise<void> {
    const { topology, id } = source
    const observation = await source.look(own)
    if (own.aborted) return
    unheard.delete(source)
    if (observation.outcome === 'failed') errors.push({ topology, source: id, ...observation.error })
    await deliver(source, observation)
  }

  async function settle(own: AbortSignal): Promise<void> {
    await Promise.all([nextRound(), ...sources.map((source) => ask(source, own))])
    while (!own.aborted && (dialler.isBusy() || isUnderWay(plan()))) await nextRound()
  }

  try {
    await withDeadline(settle, { ms, signal, clock, expected: '[agent] expected the round to end' })
  } catch (thrown) {
    const error = describeError(thrown)
    errors.push(error, ...[...unheard].map(({ topology, id }) => ({ topology, source: id, ...error })))
  }
  errors.push(...[...dialler.failures()].map(([node, error]) => ({ node, ...error })))
  const trouble = mesh.trouble()
  if (trouble !== undefined) errors.push(trouble)
  return { connected: [...mesh.links()], errors }
}

function isUnderWay(plan: Plan | undefined): boolean {
  if (plan === undefined || plan.connect.length > 0) return true
  return plan.hold.some(({ reason }) => reason === 'dialling' || reason === 'round_full')
}
