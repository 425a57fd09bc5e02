import type { Claim } from '../../core/lease.ts'
import type { Observation } from '../../core/member.ts'
import { parseServedConfig } from '../../core/served-config.ts'
import { createRegistry } from '../../functions/resolvers/registry.ts'
import type { Stores } from '../../functions/stores/store.ts'

export const TTL_MS = 30_000
export const MAX_MEMBERS = 130

/** One instance of a function over a store. Each call happens at the time that it is given. */
export interface Instance {
  claim(claim: Claim, now: number): Promise<{ ttlMs: number; isNews: boolean }>
  release(claim: Pick<Claim, 'node' | 'id'>, now: number): Promise<{ ttlMs: number; isNews: boolean }>
  look(now: number): Promise<Observation>
}

/** An instance in this process. */
export function createInstance(registry: { store: string }, stores: Stores, topology: string): Instance {
  const topologies = {
    [topology]: { sources: [{ registry: { ttl: TTL_MS, ...registry } }], policy: { maxMembers: MAX_MEMBERS } },
  }
  const config = parseServedConfig({ topologies }, { file: 'test', env: {} }).topologies[topology]
  if (config === undefined) throw new TypeError('the config has the topology')
  let time = 0
  const quiet = () => {}
  const log = { debug: quiet, info: quiet, warn: quiet, error: quiet }
  const context = { now: () => time, log, fetch }
  const made = createRegistry({ topology, config, stores, context })
  if (made === undefined) throw new TypeError('the topology has a registry')
  return {
    claim(claim, now) {
      time = now
      return made.claim(claim)
    },
    release(claim, now) {
      time = now
      return made.release(claim)
    },
    async look(now) {
      time = now
      const signal = AbortSignal.timeout(10_000)
      const observation = await made.source.look?.({}, { ...context, source: 'registry', signal })
      if (observation === undefined) throw new TypeError('a registry can be asked')
      return observation
    },
  }
}
