import type { NodeName } from '../../../core/node.ts'
import { healingMs } from '../bounds.ts'
import { expectLinks } from '../expected.ts'
import type { Invariant } from '../invariant.ts'
import type { World } from '../world.ts'

/** (h) No two stable components where reachability and the sources allow one. */
export const oneMesh: Invariant = {
  name: 'h: no two stable meshes where there could be one',
  sentence: 'Connect = wanted without link, without a dial in flight and without a wait.',
  watch(world, report) {
    const links = expectLinks(world)
    return {
      ...links,
      minute() {
        const [agent] = world.agents.values()
        const lacking = agent === undefined ? [] : links.lacking(healingMs(agent))
        if (lacking.length === 0) return
        const component = components(world)
        const apart = lacking.find(([a, b]) => component.get(a) !== component.get(b) && !isDialling(world, a, b))
        if (apart === undefined) return
        const [self, node] = apart
        const plan = world.agents.get(self)?.plan
        report({ message: `${self} and ${node} are in two meshes, and one knows the other`, ...(plan && { plan }) })
      },
    }
  },
}

/** What it has just learned is on its way. */
function isDialling({ agents }: World, self: NodeName, peer: NodeName): boolean {
  return agents.get(self)?.plan?.state.peers[peer]?.dialledAt !== undefined
}

function components({ machines, beam }: World): Map<NodeName, NodeName> {
  const component = new Map<NodeName, NodeName>()
  for (const first of machines.keys()) {
    const open = [first]
    for (let node = open.pop(); node !== undefined; node = open.pop()) {
      if (component.has(node)) continue
      component.set(node, first)
      open.push(...beam.links(node))
    }
  }
  return component
}
