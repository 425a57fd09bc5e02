import type { Draft, PlanTopologyReport } from './plan.ts'
import { graceOf, type View } from './standing.ts'
import type { TopologyState } from './state.ts'

/** Tells how a topology and its sources stand, and emits an event for each condition that begins or ends. */
export function report(
  topology: string,
  view: View,
  guard: PlanTopologyReport['guard'],
  linkedMembers: number,
  { input, linked, events }: Draft,
): PlanTopologyReport {
  const { state, policy, standings } = view
  const sources = Object.entries(state.sources)
  const answered = sources.every(([, { outcome, answeredAt }]) => {
    return answeredAt !== undefined || (outcome === 'failed' && linkedMembers >= Math.max(1, policy.minPeers))
  })
  state.formed = linkedMembers >= policy.minPeers && (state.formed || answered)

  const believed = sources.length > 0 && sources.every(([, { outcome, doubted }]) => outcome === 'complete' && !doubted)
  noteCondition(state, 'self_not_listed', believed && !view.knowsSelf, () => {
    const names = view.known.slice(0, 5).join(', ')
    const message = `${view.known.length} members are listed (${names}), and this node, ${input.self}, is not: unless it is still starting, check that its name is made as theirs`
    events.push({ type: 'self_not_listed', topology, message })
  })
  const blocked = [...standings].filter(
    ([node, standing]) =>
      standing.kind === 'kept' &&
      standing.reason === 'source_failed' &&
      standing.missedMs >= graceOf(view) &&
      linked.has(node),
  )
  noteCondition(state, 'source_blocks_removal', blocked.length > 0, () => {
    const failing = sources.filter(([, { outcome }]) => outcome === 'failed').map(([id]) => id)
    const message = `${failing.join(', ')} fails, so ${blocked.length} nodes that no other source lists are kept: repair it, or take it out of the config`
    events.push({ type: 'source_blocks_removal', topology, message })
  })
  return {
    formed: state.formed,
    ...(guard && { guard }),
    sources: Object.fromEntries(
      sources.map(([id, { outcome, at, listed, missing, doubted, error }]) => [
        id,
        {
          ...(outcome && { outcome }),
          ...(at !== undefined && { at }),
          members: listed.length + Object.keys(missing).length,
          ...(doubted && { doubted }),
          ...(error && { error }),
        },
      ]),
    ),
  }
}

/** Reports a condition once when it begins and, if asked, once when it ends. */
export function noteCondition(
  state: TopologyState,
  condition: TopologyState['reported'][number],
  holds: boolean,
  begins: () => void,
  ends?: () => void,
): void {
  const reported = state.reported.includes(condition)
  if (holds === reported) return
  state.reported = holds ? [...state.reported, condition] : state.reported.filter((each) => each !== condition)
  if (holds) begins()
  else ends?.()
}
