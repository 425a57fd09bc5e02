import type { Invariant } from '../invariant.ts'
import { eachAgent } from './each-agent.ts'

/** (f) A node that was removed is not dialled again by agents that know it, until a source names it. */
export const noRedial: Invariant = {
  name: 'f: who was removed is not dialled',
  // A removal stands until a source names the node or is doubted.
  sentence: 'Wanted = known, not leaving, not removed, not self, in any topology.',
  watch(world, report) {
    return eachAgent((told, { self }, _input, plan) => {
      if (plan.leave && plan.connect.length > 0) report({ message: `${self} leaves, and dials`, plan })
      for (const { node } of plan.connect) {
        const knowers = told.knowers(node)
        if (node === self) report({ message: `${self} dials itself`, plan })
        else if (knowers.length === 0) report({ message: `${self} dials ${node}, which no source names`, plan })
        else if (told.removed.has(node)) report({ message: `${self} dials ${node}, which it removed`, plan })
        else if (knowers.every(({ leaving }) => leaving.has(node)))
          report({ message: `${self} dials ${node}, which is leaving`, plan })
      }
    })(world)
  },
}
