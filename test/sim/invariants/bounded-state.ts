import type { Invariant } from '../invariant.ts'
import { eachAgent } from './each-agent.ts'

// A State is written out once in so many plans: that is most of what this check costs.
const EVERY = 500
// What one name can stand for in State: in a list, its misses, its id and address, its dials; and what stands there anyway.
const BYTES_PER_NAME = 1_200
const BYTES = 2_000

/** (i) State is bounded by what the sources named within `stale`. */
export const boundedState: Invariant = {
  name: 'i: State stays bounded',
  sentence:
    'State holds nothing about a node that is neither known nor linked, but the times of removals within confirm.',
  watch(world, report) {
    let plans = 0
    return eachAgent((told, { self }, { links }, plan) => {
      if (++plans % EVERY !== 0) return
      const bytes = JSON.stringify(plan.state).length
      const names = new Set([...told.known(), ...links]).size + told.removedAt.length
      if (bytes > BYTES + names * BYTES_PER_NAME) report({ message: `${self} holds ${bytes} bytes for ${names} names` })
      const { sources = {} } = plan.state.topologies.web ?? {}
      const known = new Set(
        Object.values(sources).flatMap(({ listed, missing }) => [...listed, ...Object.keys(missing)]),
      )
      for (const peer of Object.keys(plan.state.peers)) {
        if (!known.has(peer) && !links.includes(peer)) report({ message: `${self} remembers ${peer}, known to nobody` })
      }
    })(world)
  },
}
