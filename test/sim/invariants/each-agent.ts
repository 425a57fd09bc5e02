import type { NodeName } from '../../../core/node.ts'
import { createTold, type Told } from '../told.ts'
import type { AgentView, Witness, World } from '../world.ts'

/** What each agent was told so far, for an invariant that judges a plan by it. */
export function eachAgent(
  planned: (told: Told, ...given: Parameters<NonNullable<Witness['planned']>>) => void,
): (world: World) => Witness {
  return ({ time }) => {
    const all = new Map<NodeName, Told>()
    const start = ({ self, policy }: AgentView) => {
      const told = createTold(policy.confirm)
      all.set(self, told)
      return told
    }
    return {
      began(agent, keepsState) {
        // With its state it remembers all that it was told, and so do we.
        if (!keepsState || !all.has(agent.self)) start(agent)
      },
      planned(agent, input, plan) {
        const told = all.get(agent.self) ?? start(agent)
        told.hear(input, time.now())
        told.doubt(plan)
        planned(told, agent, input, plan)
        told.note(plan, time.now())
      },
    }
  }
}
