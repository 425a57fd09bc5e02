import { isForgotten, type Lease, startClock } from '../../core/lease.ts'
import type { OpenStore } from './store.ts'

/** Keeps the leases in this process: they end with it, and no other process sees them. */
export const openMemoryStore: OpenStore = async ({ options: { ttl: ttlMs }, context: { now } }) => {
  let clock = startClock(now())
  const leases = new Map<string, Lease>()
  return {
    async read() {
      const at = { clock, now: now(), ttlMs }
      for (const [node, lease] of leases) if (isForgotten(lease, at)) leases.delete(node)
      return { clock, leases: [...leases.values()] }
    },

    async change(node, decide) {
      const change = decide(leases.get(node), clock)
      if (change.write !== undefined) {
        clock = change.write.clock
        leases.set(node, change.write.lease)
      }
      return change
    },
  }
}
