import type { NodeName } from '../../../core/node.ts'
import type { Contender } from '../world.ts'
import { namesOf, onAnswers } from './answered.ts'

// healthy_panic_threshold
const PANIC = 0.5

/**
 * Envoy's table of two by two: who is not in the answer goes only when it is not healthy (here: not linked) either; in panic, with
 * less than half healthy, nobody is taken for dead. It cuts no link that stands.
 */
export const envoy: Contender = {
  name: 'Envoy',
  cutting: 'disconnect_node',
  decide() {
    const known = new Set<NodeName>()
    return onAnswers((observation, links, { self }) => {
      const answered = new Set(namesOf(observation))
      const isKept = observation.outcome === 'failed'
      for (const node of answered) known.add(node)
      const others = [...known].filter((node) => node !== self)
      const healthy = others.filter((node) => links.has(node)).length
      if (!isKept && healthy >= PANIC * others.length) {
        for (const node of others) if (!answered.has(node) && !links.has(node)) known.delete(node)
      }
      return { connect: [...known], disconnect: [] }
    })
  },
}
