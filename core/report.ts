import type { Draft, PlanTopologyReport } from './plan.ts'
import { graceOf, type View } from './standing.ts'
import type { TopologyState } from './state.ts'

/** Tells how a topology and its sources stand, and emits an event for each condition that begins. */
export function report(view: View, linkedMembers: number, { input, linked }: Draft): PlanTopologyReport {
  const { state, policy, standings, known, guard, emit } = view
  const sources = Object.entries(state.sources)
  const answered = sources.every(([, { outcome, answeredAt }]) => {
    return answeredAt !== undefined || (outcome === 'failed' && linkedMembers >= Math.max(1, policy.minPeers))
  })
  state.formed = linkedMembers >= policy.minPeers && (state.formed || answered)

  const believed = sources.length > 0 && sources.every(([, { outcome, doubted }]) => outcome === 'complete' && !doubted)
  const stranger = believed && !view.knowsSelf
  if (noteCondition(state, 'self_not_listed', stranger) && stranger) {
    const names = known.slice(0, 5).join(', ')
    emit(
      'self_not_listed',
      `${known.length} members are listed (${names}), and this node, ${input.self}, is not: unless it is still starting, check that its name is made as theirs`,
    )
  }
  const blocked = [...standings].filter(
    ([node, standing]) =>
      standing.kind === 'kept' &&
      standing.reason === 'source_failed' &&
      standing.missedMs >= graceOf(view) &&
      linked.has(node),
  ).length
  if (noteCondition(state, 'source_blocks_removal', blocked > 0) && blocked > 0) {
    const failing = sources.filter(([, { outcome }]) => outcome === 'failed').map(([id]) => id)
    emit(
      'source_blocks_removal',
      `${failing.join(', ')} fails, so ${blocked} nodes that no other source lists are kept: repair it, or take it out of the config`,
    )
  }
  return {
    formed: state.formed,
    ...(guard && { guard }),
    sources: Object.fromEntries(
      sources.map(([id, { outcome, at, answeredAt, listed, missing, doubted, error }]) => [
        id,
        {
          ...(outcome && { outcome }),
          ...(at !== undefined && { at }),
          ...(outcome === 'failed' && answeredAt !== undefined && { staleSince: answeredAt }),
          members: listed.length + Object.keys(missing).length,
          ...(doubted && { doubted }),
          ...(error && { error }),
        },
      ]),
    ),
  }
}

/** Remembers whether a condition holds, so that it is an event once; returns whether that has changed. */
export function noteCondition(
  state: TopologyState,
  condition: TopologyState['reported'][number],
  holds: boolean,
): boolean {
  if (holds === state.reported.includes(condition)) return false
  state.reported = holds ? [...state.reported, condition] : state.reported.filter((each) => each !== condition)
  return true
}
