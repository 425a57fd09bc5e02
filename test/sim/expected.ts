import type { NodeName } from '../../core/node.ts'
import { answers } from './machine.ts'
import type { AgentView, Witness, World } from './world.ts'

/** Knows which links there must be by now, given what each agent knows and what the network allows. */
export interface Expectation extends Witness {
  /** The pairs without link that one side wants and could have had for `ms`. */
  lacking(ms: number): [NodeName, NodeName][]
}

/** Makes one for a world. */
export function expectLinks(world: World): Expectation {
  const { time, agents, machines, beam } = world
  const lostAt = new Map<string, number>()

  /** Whom the agent wants, by what its plan says of its State: listed, and not on its way out. */
  function wanted({ self, plan }: AgentView): NodeName[] {
    if (plan === undefined || plan.leave) return []
    const { sources = {}, removed = [] } = plan.state.topologies.web ?? {}
    const listed = new Set(Object.values(sources).flatMap(({ listed }) => listed))
    const leaving = new Set(Object.values(sources).flatMap(({ leavingClocks }) => Object.keys(leavingClocks)))
    if (leaving.has(self)) return []
    return [...listed].filter((node) => node !== self && !leaving.has(node) && !removed.includes(node))
  }

  function isReady(node: NodeName, since: number): boolean {
    const machine = machines.get(node)
    return machine !== undefined && answers(machine) && Math.max(machine.startedAt, machine.resumedAt) <= since
  }

  return {
    linkChanged(a, b, up) {
      if (up) return
      lostAt.set(`${a} ${b}`, time.now())
      lostAt.set(`${b} ${a}`, time.now())
    },

    lacking(ms) {
      const since = time.now() - ms
      if (world.networkWellSince() > since) return []
      return [...agents.values()].flatMap((agent): [NodeName, NodeName][] => {
        const { self, startedAt } = agent
        if (startedAt > since || !isReady(self, since)) return []
        const peers = wanted(agent).filter((node) => {
          // A peer that leaves the mesh by itself is gone again after each dial.
          const goes = agents.get(node)?.plan?.leave === true
          return !beam.links(self).has(node) && isReady(node, since) && !goes
        })
        return peers.flatMap((node) => ((lostAt.get(`${self} ${node}`) ?? 0) <= since ? [[self, node]] : []))
      })
    },
  }
}
