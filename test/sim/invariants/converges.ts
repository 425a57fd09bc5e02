import type { NodeName } from '../../../core/node.ts'
import { settlingMs } from '../bounds.ts'
import type { Invariant } from '../invariant.ts'
import { answers } from '../machine.ts'
import type { World } from '../world.ts'

/** (c) Once faults stop, links are as the platform lists, within the stated bound. */
export const converges: Invariant = {
  name: 'c: once faults stop, links = wanted',
  sentence: 'A pure core decides whom to connect to and whom to disconnect from: towards what the sources say.',
  watch(world, report) {
    // An agent without memory of a node knows no reason to cut it: a limit of the design, shown by a scenario.
    const forgetful = new Map<NodeName, number>()
    return {
      began({ self }, keepsState) {
        if (!keepsState) forgetful.set(self, world.time.now())
      },
      minute() {
        const [agent] = world.agents.values()
        if (agent === undefined || world.time.now() - world.calmSince() < settlingMs(agent)) return
        for (const { self, plan } of world.agents.values()) {
          const message = lackOf(self, world) ?? excessOf(self, world, forgetful)
          if (message !== undefined) report({ message, ...(plan && { plan }) })
        }
      },
    }
  },
}

function lackOf(self: NodeName, { platform, machines, beam }: World): string | undefined {
  if (platform.entry(self) === undefined) return undefined
  const links = beam.links(self)
  const lacking = platform.members(0).find(({ node }) => {
    return node !== self && answers(machines.get(node)) && !links.has(node)
  })
  return lacking && `${self} has no link to ${lacking.node}, which is listed and runs`
}

function excessOf(self: NodeName, world: World, forgetful: ReadonlyMap<NodeName, number>): string | undefined {
  const { platform, beam, agents } = world
  // An answer that lists nobody else is doubted for ever.
  if (platform.entry(self) === undefined || platform.members(0).length < 3) return undefined
  const excess = [...beam.links(self)].find((node) => {
    const isForgotten = (forgetful.get(node) ?? 0) > 0 && isLate(node, world, forgetful)
    return platform.entry(node) === undefined && agents.has(node) && !isForgotten
  })
  return excess && `${self} has a link to ${excess}, which nobody lists`
}

/** Whether the node's agent began without memory when nobody listed the node any more. */
function isLate(node: NodeName, { agents }: World, forgetful: ReadonlyMap<NodeName, number>): boolean {
  const { sources = {} } = agents.get(node)?.plan?.state.topologies.web ?? {}
  const knowsSelf = Object.values(sources).some(({ listed, missing }) => listed.includes(node) || node in missing)
  return forgetful.has(node) && !knowsSelf
}
