import { RollcallError } from './error.ts'
import type { Member } from './member.ts'
import type { NodeName } from './node.ts'

/** What a node says of itself when it registers or renews. */
export interface Claim {
  readonly node: NodeName
  /** Random for each start of the node: it tells a restarted node from its predecessor. */
  readonly id: string
  /** How long the lease is to last: what the registry grants by default, and at most that. */
  readonly ttlMs?: number | undefined
  readonly status?: Member['status'] | undefined
  readonly address?: Member['address'] | undefined
  readonly meta?: Member['meta'] | undefined
}

/** What a store keeps of one node, as plain JSON. */
export interface Lease {
  readonly member: Member & { readonly id: string }
  readonly ttlMs: number
  /** On the registry's clock as it was at the write: see {@link RegistryClock}. */
  readonly expiresAt: number
  /** The `extendedMs` of the clock then; what was added since is added to `expiresAt`. */
  readonly extendedMs: number
  /** The node has left: others see `leaving` until this expires, one lease later than the lease would have. */
  readonly left?: true
}

/** What a store keeps of its own time, as plain JSON: leases run only while the registry was there to be renewed at. */
export interface RegistryClock {
  /** Since when the store could be written, ms since the Unix epoch: for a lease after that it knows only who came since. */
  readonly since: number
  readonly lastWriteAt: number
  /** By how much all leases were extended so far, in ms, for the times in which nobody could write. */
  readonly extendedMs: number
}

/** A registry at an instant: its clock, the time, and the lease that it grants, in ms. */
export interface RegistryInstant {
  readonly clock: RegistryClock
  readonly now: number
  readonly ttlMs: number
}

/** What a claim or a departure comes to. `write` is absent where nothing has to be stored. */
export interface LeaseChange {
  readonly ttlMs: number
  readonly write?: { readonly lease: Lease; readonly clock: RegistryClock }
}

// Below a second a lease is shorter than the time that a message and a pause of a runtime take.
const MIN_TTL_MS = 1_000

/** The clock of a store that is made now. */
export function startClock(now: number): RegistryClock {
  return { since: now, lastWriteAt: now, extendedMs: 0 }
}

/**
 * Registers or renews. Nothing is to be written while more than two thirds of the lease are left and nothing else changed. Throws
 * `left` for the id of a node that has left.
 */
export function claim(given: Claim, current: Lease | undefined, at: RegistryInstant): LeaseChange {
  const { node, id, status = 'up', address, meta } = given
  const ttlMs = Math.max(MIN_TTL_MS, Math.min(given.ttlMs ?? at.ttlMs, at.ttlMs))
  const alive = current !== undefined && leftMs(current, at) > 0 ? current : undefined
  if (alive?.left === true && alive.member.id === id) {
    throw new RollcallError(
      'left',
      `[registry] expected an id of a new start of ${node}, got the one with which it left`,
    )
  }
  const member = { node, status, id, ...(address && { address }), ...(meta && { meta }) }
  const isSame =
    alive !== undefined && alive.left === undefined && JSON.stringify(alive.member) === JSON.stringify(member)
  if (isSame && alive.ttlMs === ttlMs && leftMs(alive, at) > (ttlMs * 2) / 3) return { ttlMs }
  const clock = advance(at)
  const lease = { member, ttlMs, expiresAt: at.now + ttlMs, extendedMs: clock.extendedMs }
  return { ttlMs, write: { lease, clock } }
}

/**
 * Takes a node out: what stays is a tombstone. Nothing is to be written where the node is not known, or has left already. Throws
 * `replaced` where another start of the node holds the lease.
 */
export function release(
  { node, id }: Pick<Claim, 'node' | 'id'>,
  current: Lease | undefined,
  at: RegistryInstant,
): LeaseChange {
  if (current === undefined || leftMs(current, at) <= 0) return { ttlMs: at.ttlMs }
  if (current.member.id !== id) {
    throw new RollcallError(
      'replaced',
      `[registry] expected the id of the running ${node}, got another: it was started again since`,
    )
  }
  if (current.left === true) return { ttlMs: current.ttlMs }
  const clock = advance(at)
  const member = { ...current.member, status: 'leaving' as const }
  const expiresAt = at.now + leftMs(current, at) + current.ttlMs
  return {
    ttlMs: current.ttlMs,
    write: { lease: { ...current, member, expiresAt, extendedMs: clock.extendedMs, left: true }, clock },
  }
}

/** Who holds a lease now, sorted by name; `partial` where the store cannot know of all: it is young, or nobody could renew for a while. */
export function listLeases(
  leases: Iterable<Lease>,
  at: RegistryInstant,
): { outcome: 'complete'; members: Member[] } | { outcome: 'partial'; members: Member[]; reason: string } {
  const members = [...leases].filter((lease) => leftMs(lease, at) > 0).map(({ member }) => member)
  members.sort((a, b) => (a.node < b.node ? -1 : 1))
  const { clock, now, ttlMs } = at
  if (now - clock.since < ttlMs) {
    return { outcome: 'partial', members, reason: 'the registry has been there for less than a lease' }
  }
  if (isIdle(at)) return { outcome: 'partial', members, reason: 'nobody has renewed for half a lease' }
  return { outcome: 'complete', members }
}

/** How long a lease still runs, in ms; 0 or less: it has ended. */
export function leftMs(lease: Lease, at: RegistryInstant): number {
  return lease.expiresAt + (extendedMsAt(at) - lease.extendedMs) - at.now
}

/** Whether a store may delete it: it has ended by a whole lease, and no extension brings it back. */
export function isForgotten(lease: Lease, at: RegistryInstant): boolean {
  return leftMs(lease, at) <= -at.ttlMs
}

/** The clock after a write now. */
function advance(at: RegistryInstant): RegistryClock {
  const { clock, now, ttlMs } = at
  // Away for longer than a lease: who could not renew is heard of within the next one.
  const since = now - clock.lastWriteAt > ttlMs ? now : clock.since
  return { since, lastWriteAt: Math.max(now, clock.lastWriteAt), extendedMs: extendedMsAt(at) }
}

/** By how much leases are extended by now: time without a write does not count, up to one lease, after which who is gone must end. */
function extendedMsAt(at: RegistryInstant): number {
  return at.clock.extendedMs + (isIdle(at) ? Math.min(at.now - at.clock.lastWriteAt, at.ttlMs) : 0)
}

/** Renewals come every third of a lease: half a one without any means that nobody could. */
function isIdle({ clock, now, ttlMs }: RegistryInstant): boolean {
  return now - clock.lastWriteAt > ttlMs / 2
}
