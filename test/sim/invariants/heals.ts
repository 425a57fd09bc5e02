import { healingMs } from '../bounds.ts'
import { expectLinks } from '../expected.ts'
import type { Invariant } from '../invariant.ts'

/** (e) After a partition of any length the mesh is whole within one interval, `maxWait` and a dial under way. */
export const heals: Invariant = {
  name: 'e: a healed network is a whole mesh within one interval + maxWait + a dial under way',
  sentence: 'maxWait: the longest wait between two dials, what a healed partition costs at most.',
  watch(world, report) {
    const links = expectLinks(world)
    return {
      ...links,
      healed() {
        const [agent] = world.agents.values()
        if (agent === undefined) return
        const ms = healingMs(agent)
        world.time.after(ms, () => {
          const [pair, ...others] = links.lacking(ms)
          if (pair === undefined) return
          const [self, node] = pair
          const plan = world.agents.get(self)?.plan
          const message = `${self} has no link to ${node}, ${ms} ms after the network healed (and ${others.length} more)`
          report({ message, ...(plan && { plan }) })
        })
      },
    }
  },
}
