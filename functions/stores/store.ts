import type { Lease, LeaseChange, RegistryClock } from '../../core/lease.ts'
import type { RegistryOptions } from '../../core/sources/registry.ts'
import type { SourceContext } from '../resolvers/source.ts'

/** What a store keeps of one topology. Leases that have ended may be among them. */
export interface Kept {
  readonly clock: RegistryClock
  readonly leases: readonly Lease[]
}

/** Says what becomes of a node's lease. It may be asked more than once, and is pure but for its time. */
export type Decide = (current: Lease | undefined, clock: RegistryClock) => LeaseChange

/** Where the leases of one topology are kept. Rejects with `store_unavailable` where it cannot be reached. */
export interface LeaseStore {
  read(signal: AbortSignal): Promise<Kept>
  /** Changes one lease as `decide` says, and nothing between what it was shown and what it gave. What it throws comes out. */
  change(node: string, decide: Decide): Promise<LeaseChange>
}

export interface StoreOptions {
  topology: string
  options: RegistryOptions
  /** What a store may use of the world; `now` is ms since the Unix epoch. */
  context: Pick<SourceContext, 'now' | 'log' | 'fetch'>
}

/** Opens a store. It is called once for a topology, when it is first needed. */
export type OpenStore = (options: StoreOptions) => Promise<LeaseStore>

/** The stores that a host has, by name. */
export type Stores = Readonly<Partial<Record<RegistryOptions['store'], OpenStore>>>
