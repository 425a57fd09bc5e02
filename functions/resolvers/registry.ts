import { RollcallError } from '../../core/error.ts'
import { type Claim, claim, type Lease, type LeaseChange, leftMs, listLeases, release } from '../../core/lease.ts'
import type { Member } from '../../core/member.ts'
import type { TopologyConfig } from '../../core/served-config.ts'
import { type RegistryOptions, registryOptionsSchema } from '../../core/sources/registry.ts'
import { problem } from '../problem.ts'
import type { Decide, LeaseStore, StoreOptions, Stores } from '../stores/store.ts'
import type { Source } from './source.ts'

/** The registry of one topology: what its nodes say of themselves, and the source that lists them. */
export interface Registry {
  /** The id of its source. */
  readonly id: string
  readonly source: Source<unknown>
  /** Registers or renews. Throws `left`, `registry_full` or `store_unavailable`. */
  claim(given: Claim): Promise<Registered>
  /** Takes a node out. Throws `replaced` or `store_unavailable`. */
  release(given: Pick<Claim, 'node' | 'id'>): Promise<Registered>
}

/** What a claim or a departure came to. */
export interface Registered {
  /** How long the lease lasts, in ms. */
  readonly ttlMs: number
  /** Whether others see something else than before. */
  readonly isNews: boolean
}

export interface RegistryParts extends Pick<StoreOptions, 'topology' | 'context'> {
  config: TopologyConfig
  stores: Stores
}

// A full registry is looked at again at most this often for those whose lease has ended, however many knock.
const RECOUNT_MS = 1_000
const COUNT_TIMEOUT_MS = 5_000

/** Makes the one registry of a topology, if it has one. Throws `config` where this host has no such store. */
export function createRegistry({ topology, config, stores, context }: RegistryParts): Registry | undefined {
  const entry = config.sources.find(({ kind }) => kind === 'registry')
  if (entry === undefined) return undefined
  const options = entry.options as RegistryOptions
  const open = stores[options.store]
  if (open === undefined) throw noSuchStore(`topologies.${topology}: source ${entry.id}`, options.store, stores)
  const { now } = context
  const { ttl: ttlMs } = options
  const { maxMembers } = config.policy
  // Who may hold a lease, to count them without a read for each that comes.
  let names = new Set<string>()
  let countedAt: number | undefined
  let opening: Promise<LeaseStore> | undefined

  async function opened(): Promise<LeaseStore> {
    opening ??= open?.({ topology, options, context })
    try {
      return await (opening as Promise<LeaseStore>)
    } catch (error) {
      opening = undefined
      throw error
    }
  }

  async function list(signal: AbortSignal) {
    const { clock, leases } = await (await opened()).read(signal)
    const time = now()
    const listed = listLeases(leases, { clock, now: time, ttlMs })
    countedAt = time
    names = new Set(listed.members.map(({ node }) => node))
    return listed
  }

  /** Throws where one more would be too many, but for those who come at the same moment. */
  async function makeRoom(node: string): Promise<void> {
    if (names.has(node)) return
    if (countedAt === undefined || (names.size >= maxMembers && Math.abs(now() - countedAt) >= RECOUNT_MS)) {
      await list(AbortSignal.timeout(COUNT_TIMEOUT_MS))
    }
    if (names.size >= maxMembers && !names.has(node)) throw full(maxMembers, ttlMs)
    names.add(node)
  }

  async function change(node: string, decide: Decide): Promise<Registered> {
    let before: Lease | undefined
    const store = await opened()
    const made = await store.change(node, (current, clock) => {
      before = current !== undefined && leftMs(current, { clock, now: now(), ttlMs }) > 0 ? current : undefined
      return decide(current, clock)
    })
    return { ttlMs: made.ttlMs, isNews: isNews(before, made) }
  }

  return {
    id: entry.id,
    source: {
      options: registryOptionsSchema,
      async look(_options, { source, signal }) {
        const at = now()
        return { source, at, ...(await list(signal)) }
      },
    },

    async claim(given) {
      await makeRoom(given.node)
      return await change(given.node, (current, clock) => claim(given, current, { clock, now: now(), ttlMs }))
    },

    release: (given) => change(given.node, (current, clock) => release(given, current, { clock, now: now(), ttlMs })),
  }
}

function isNews(before: Lease | undefined, { write }: LeaseChange): boolean {
  return write !== undefined && textOf(before?.member) !== textOf(write.lease.member)
}

function textOf(member: Member | undefined): string | undefined {
  return member && JSON.stringify(member)
}

function full(maxMembers: number, ttlMs: number): RollcallError {
  return problem('registry_full', 'registry', `at most ${maxMembers} members (maxMembers), got one more`, ttlMs)
}

function noSuchStore(path: string, got: string, stores: Stores): RollcallError {
  const known = Object.keys(stores).join(', ') || 'none'
  return new RollcallError('config', `[config] ${path}: expected a store of this host (${known}), got ${got}`)
}
