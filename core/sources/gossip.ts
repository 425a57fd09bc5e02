import * as z from 'zod/mini'
import { durationSchema } from '../duration.ts'
import { type Member, nodeNameSchema } from '../member.ts'
import { type NodeName, parseIpv4 } from '../node.ts'
import { name, port, text } from '../setting.ts'

/** Options of the `gossip` source after parsing; `heartbeat` in ms. */
export type GossipOptions = z.infer<typeof gossipOptionsSchema>

/** libcluster's group, of the range for documentation and local use (RFC 5771, section 9.2), so that both can share a network. */
export const DEFAULT_GROUP = '233.252.1.32'

const address = text.check(z.refine((value) => parseIpv4(value) !== undefined, { error: 'expected an IPv4 address' }))
// Faster floods the network; slower, and the agent would take the silence between two for the end of the source.
const beat = { error: 'expected a duration of 100ms to 30s' }
const clusterName = z
  .string()
  .check(z.regex(/^[!-~]{1,64}$/, { error: 'expected 1 to 64 printable ASCII characters without a space' }))

export const gossipOptionsSchema = z
  .strictObject({
    name,
    /** Where all listen, and send to. */
    port: z._default(port, 45_892),
    /** The multicast group; with `broadcast` the address to send to, by default the broadcast address of each interface. */
    group: z.optional(address),
    /** A name like eth0, or an IPv4 address of it. Default: every interface with an IPv4 address; the loopback only where there is no other. */
    interface: z.optional(text),
    /** The local address to bind. Anything but 0.0.0.0 hears no multicast on Linux. */
    bind: z._default(address, '0.0.0.0'),
    /** How many routers a datagram may pass; 1 stays on the link. */
    ttl: z._default(z.int().check(z.minimum(0), z.maximum(255)), 1),
    /** Broadcast instead of multicast, for networks that do not pass it. */
    broadcast: z._default(z.boolean(), false),
    /**
     * Shared by all. With it a datagram is encrypted and, but for libcluster's, authentic; it is as strong as the secret is hard to
     * guess: `rollcall token` prints a good one. Without it anybody on the network can read along, and can name nodes.
     */
    secret: z.optional(text),
    /** Nodes of other clusters on the same network are ignored. libcluster's datagrams carry none. */
    cluster: z.optional(clusterName),
    /** How often a node says that it is there: a new one is known to all at once, and knows all after this long. */
    heartbeat: z._default(durationSchema.check(z.refine((ms) => ms >= 100 && ms <= 30_000, beat)), 5_000),
    /** Whose datagrams are spoken and understood. */
    wire: z._default(z.enum(['rollcall', 'libcluster']), 'rollcall'),
  })
  .check(
    z.refine(({ broadcast, group }) => broadcast || group === undefined || isMulticast(group), {
      path: ['group'],
      error: 'expected a multicast group, 224.0.0.0 to 239.255.255.255',
    }),
    z.refine(({ broadcast, group }) => !broadcast || group === undefined || !isMulticast(group), {
      path: ['group'],
      error: 'expected a broadcast address, since broadcast is set',
    }),
    z.refine(({ wire, cluster }) => wire === 'rollcall' || cluster === undefined, {
      path: ['cluster'],
      error: "expected no cluster, since libcluster's datagrams carry none: tell clusters apart by secret or port",
    }),
  )

function isMulticast(group: string): boolean {
  const [first = 0] = parseIpv4(group) ?? []
  return first >= 224 && first < 240
}

/** What a node says of itself, again and again. */
export interface Beat {
  readonly node: NodeName
  readonly status: Member['status']
  /** Absent on a wire that has none. */
  readonly stamp?: Stamp
}

/** Orders the beats of one node, by its own clock in ms since the Unix epoch and a count within one ms. */
export interface Stamp {
  readonly at: number
  readonly sequence: number
}

/**
 * How far two clocks may be apart, in ms: Kerberos' 5 minutes, which any clock that is kept at all keeps. A datagram that was
 * recorded can be played back for that long to somebody who does not know its node.
 */
export const CLOCK_TOLERANCE_MS = 300_000

/** The stamp after `last`. It never goes back, but where the own clock was so wrong that nobody can have believed it. */
export function stampAfter(last: Stamp | undefined, now: number): Stamp {
  if (last === undefined || now > last.at || last.at > now + CLOCK_TOLERANCE_MS) return { at: now, sequence: 0 }
  return { at: last.at, sequence: last.sequence + 1 }
}

const instant = z.int().check(z.minimum(0))
// What a later version adds is not read.
const bodySchema = z.object({
  node: nodeNameSchema,
  cluster: z.string(),
  status: z.enum(['up', 'leaving']),
  at: instant,
  sequence: instant,
})

/** The body of one datagram as JSON. */
export function encodeBeat({ node, status, stamp }: Required<Beat>, cluster: string): string {
  return JSON.stringify({ node, cluster, status, ...stamp })
}

/** What a body says; undefined where it is none. */
export function parseBeat(body: string): { beat: Required<Beat>; cluster: string } | undefined {
  const parsed = bodySchema.safeParse(parseJson(body))
  if (!parsed.success) return undefined
  const { node, status, cluster, at, sequence } = parsed.data
  return { beat: { node, status, stamp: { at, sequence } }, cluster }
}

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}

/** Who was heard, and when: a list of members that grows by what is heard and shrinks by silence. */
export interface Roster {
  /**
   * Notes a beat. `news` changes the list; `known` does not; `old` is a duplicate, came too late or is played back; `skewed` is
   * stamped by a clock too far from ours; and there is a limit to how many can be noted. The last three change nothing.
   */
  hear(beat: Beat, now: number): 'news' | 'known' | 'old' | 'skewed' | 'full'
  /** Those heard within `heardMs`, each once, in the order in which they came. */
  members(now: number): Member[]
  /** Drops what can neither be listed nor be played back any more. */
  sweep(now: number): void
}

interface Entry {
  member: Member
  stamp: Stamp | undefined
  heardAt: number
}

// Twice the members that a mesh has by default at most; some 5 MB when a flood of invented names fills it.
const MAX_ENTRIES = 20_000
// After that even a stamp from ahead of our clock is out of its tolerance.
const STAMP_MS = 2 * CLOCK_TOLERANCE_MS + 1

/** Makes a roster that lists a node for `heardMs` after its last beat. */
export function createRoster({ heardMs, limit = MAX_ENTRIES }: { heardMs: number; limit?: number }): Roster {
  const entries = new Map<NodeName, Entry>()
  const isListed = ({ heardAt }: Entry, now: number) => now - heardAt < heardMs
  return {
    hear({ node, status, stamp }, now) {
      const entry = entries.get(node)
      if (stamp !== undefined && Math.abs(stamp.at - now) > CLOCK_TOLERANCE_MS) return 'skewed'
      if (entry?.stamp !== undefined && stamp !== undefined && !isLater(stamp, entry.stamp)) return 'old'
      if (entry === undefined) {
        if (entries.size >= limit) return 'full'
        entries.set(node, { member: { node, status }, stamp, heardAt: now })
        return 'news'
      }
      const isKnown = isListed(entry, now) && entry.member.status === status
      if (entry.member.status !== status) entry.member = { node, status }
      entry.stamp = stamp
      entry.heardAt = now
      return isKnown ? 'known' : 'news'
    },

    members(now) {
      return [...entries.values()].filter((entry) => isListed(entry, now)).map(({ member }) => member)
    },

    sweep(now) {
      for (const [node, entry] of entries) {
        const keptMs = entry.stamp === undefined ? heardMs : Math.max(heardMs, STAMP_MS)
        if (now - entry.heardAt >= keptMs) entries.delete(node)
      }
    },
  }
}

function isLater(stamp: Stamp, other: Stamp): boolean {
  return stamp.at === other.at ? stamp.sequence > other.sequence : stamp.at > other.at
}
