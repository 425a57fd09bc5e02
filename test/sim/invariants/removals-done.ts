import { settlingMs } from '../bounds.ts'
import type { Invariant } from '../invariant.ts'
import type { AgentView, World } from '../world.ts'

/** (d) Who is left out by answers that are not doubted goes, however many they are; and the dead are forgotten. */
export const removalsDone: Invariant = {
  name: 'd: removals of any size are done, and the dead are forgotten',
  sentence: 'The guard needs no operator and never lasts for ever. Dead nodes are forgotten on evidence.',
  watch(world, report) {
    return {
      minute() {
        for (const agent of world.agents.values()) {
          const quietMs = world.time.now() - Math.max(world.calmSince(), agent.machine.startedAt)
          const message = quietMs < settlingMs(agent) ? undefined : leftOver(agent, world)
          if (message !== undefined) report({ message, ...(agent.plan && { plan: agent.plan }) })
        }
      },
    }
  },
}

function leftOver({ self, plan }: AgentView, { platform, machines, beam }: World): string | undefined {
  if (plan === undefined || platform.members(0).length < 3) return undefined
  const { sources = {}, removed = [] } = plan.state.topologies.web ?? {}
  const missing = new Set(Object.values(sources).flatMap(({ missing }) => Object.keys(missing)))
  for (const node of missing) {
    if (platform.entry(node) !== undefined) continue
    const isDead = machines.get(node)?.power !== 'up'
    if (isDead) return `${self} still remembers ${node}, which is dead and unlisted`
    if (beam.links(self).has(node) && !removed.includes(node))
      return `${self} has not removed ${node}, which is unlisted`
  }
  if (plan.topologies.web?.guard !== undefined) return `the guard of ${self} is still up`
  return undefined
}
