import type { NodeName } from '../../../core/node.ts'
import type { Observation } from '../../../core/member.ts'
import type { Plan, PlanInput } from '../../../core/plan.ts'
import { emptyState } from '../../../core/state.ts'
import type { Decide } from '../surroundings.ts'

/** What a peer orders after one answer. */
export interface Orders {
  readonly connect: readonly NodeName[]
  readonly disconnect: readonly NodeName[]
}

/**
 * A decision that is made once for each answer of a source, as the libraries that poll do, and remembers nothing beside: no
 * backoff, no reasons, no events. `decide` gets the answer and the links.
 */
export function onAnswers(
  decide: (observation: Observation, links: ReadonlySet<NodeName>, input: PlanInput) => Orders,
): Decide {
  return (_state, input) => {
    const { self, now, links, topologies } = input
    const { observations = [] } = topologies.web ?? {}
    const linked = new Set(links)
    const orders = observations.map((observation) => decide(observation, linked, input))
    const connect = new Set(
      orders.flatMap(({ connect }) => connect).filter((node) => node !== self && !linked.has(node)),
    )
    const disconnect = orders.flatMap(({ disconnect }) => disconnect).filter((node) => linked.has(node))
    const plan: Plan = {
      connect: [...connect].map((node) => ({ node, attempt: 1, reason: 'new' })),
      disconnect: disconnect.map((node) => ({ node, reason: 'absent' })),
      hold: [],
      leave: false,
      topologies: {},
      events: [],
      state: emptyState(self, now),
      recheckAt: Infinity,
    }
    return plan
  }
}

/** The names in an answer; none in a failure. */
export function namesOf(observation: Observation): NodeName[] {
  return (observation.members ?? []).map(({ node }) => node)
}
