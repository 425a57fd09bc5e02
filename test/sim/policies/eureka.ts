import type { NodeName } from '../../../core/node.ts'
import type { Contender } from '../world.ts'
import { namesOf, onAnswers } from './answered.ts'

// Eureka's renewalPercentThreshold of 0.85, and its evictionIntervalTimerInMs.
const SHARE = 0.15
const PERIOD_MS = 60_000

/** Eureka's eviction as a policy: each 60 s at most 15% of those known, of those that the last answer left out. */
export const eureka: Contender = {
  name: 'Eureka',
  cutting: 'disconnect_node',
  decide() {
    const known = new Set<NodeName>()
    let evictedAt = 0
    return onAnswers((observation, _links, { now }) => {
      if (observation.outcome === 'failed') return { connect: [...known], disconnect: [] }
      const answered = new Set(namesOf(observation))
      for (const node of answered) known.add(node)
      let disconnect: NodeName[] = []
      if (now - evictedAt >= PERIOD_MS) {
        evictedAt = now
        const expired = [...known].filter((node) => !answered.has(node))
        disconnect = expired.slice(0, Math.ceil(SHARE * known.size))
        for (const node of disconnect) known.delete(node)
      }
      return { connect: [...known], disconnect }
    })
  },
}
