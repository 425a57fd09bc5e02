import type { NodeName } from '../../../core/node.ts'
import { createTold, type Told } from '../told.ts'
import type { AgentView, Witness, World } from '../world.ts'

type Judge = (told: Told, ...given: Parameters<NonNullable<Witness['planned']>>) => void

// Several invariants judge by what the agents were told: in each world it is kept once, by the first of them.
const judgesOf = new WeakMap<World, Judge[]>()

/** Has each plan judged by what its agent was told until then. */
export function eachAgent(judge: Judge): (world: World) => Witness {
  return (world) => {
    const others = judgesOf.get(world)
    if (others !== undefined) {
      others.push(judge)
      return {}
    }
    const judges = [judge]
    judgesOf.set(world, judges)
    return keepTold(world, judges)
  }
}

function keepTold({ time }: World, judges: readonly Judge[]): Witness {
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
      for (const judge of judges) judge(told, agent, input, plan)
      told.note(plan)
    },
  }
}
