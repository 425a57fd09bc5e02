import { describeError, RollcallError } from '../../core/error.ts'
import type { Observation } from '../../core/member.ts'
import {
  type Beat,
  createRoster,
  DEFAULT_GROUP,
  type GossipOptions,
  gossipOptionsSchema,
  type Stamp,
  stampAfter,
} from '../../core/sources/gossip.ts'
import type { NodeName } from '../../core/node.ts'
import type { Source, SourceContext } from '../../functions/resolvers/source.ts'
import { type Clock, jitter, systemClock } from '../clock.ts'
import { type ChannelOptions, MAX_UNHEARD, openChannel } from './gossip-channel.ts'
import { createLibclusterWire } from './gossip-libcluster.ts'
import { createRollcallWire, type Refusal, type Wire } from './gossip-wire.ts'

// What is heard in one burst is one observation.
const GATHER_MS = 20
// A node that was not heard for so long is not named any more. Nobody is cut for it; who is dead too is forgotten. libcluster's own
// beats come at most 5 s apart, whatever ours do, and one of twenty may be lost twelve times.
const HEARD_MS = 60_000
const HEARD_BEATS = 12
// Twice a mesh of 10,000 in each heartbeat. A sealed one costs some 20 us: at worst 0.4 s of the default 5.
const MAX_DATAGRAMS = 20_000
// Above what any of the wires writes (some 600), below what the network would cut into fragments.
const MAX_BYTES = 1_400
// A datagram may be lost; three are rarely lost together.
const FAREWELLS = 3
const FAREWELL_PAUSE_MS = 50
const REASON = 'it names those that it hears, and silence is no answer'

const NOTES: Record<Exclude<Refusal, 'other_cluster'> | 'skewed' | 'full' | 'flood', string> = {
  plain: 'a node gossips without a secret: it is ignored; give it the secret',
  sealed: 'a node gossips with a secret, or with other datagrams: it is ignored; give this one the secret',
  other_secret: 'a node gossips with another secret: it is ignored; give all nodes the same',
  other_wire: 'a node gossips with datagrams of the other wire: it is ignored; give all nodes the same wire',
  other_version: 'a node gossips in another version of the datagram: it is ignored; run one version of rollcall',
  malformed: 'a datagram came that is no gossip: it is ignored; another program may use the port',
  skewed: 'the clock of a node is more than 5 minutes away from this one: it is ignored; keep both by NTP',
  full: 'more nodes gossip than can be noted: further ones are ignored; set a secret, or other clusters apart by port',
  flood: 'more datagrams come than can be read: the rest of this heartbeat is dropped; something floods the port',
}

/** What a source remembers from one watch to the next. */
interface Memory {
  /** This node has said that it leaves, and says nothing else any more. */
  isLeaving: boolean
  stamp: Stamp | undefined
  readonly noted: Set<string>
}

/** What a test may put in the place of the machine. */
export interface GossipSeams {
  clock?: Clock
  interfaces?: ChannelOptions['interfaces']
}

interface Gossip extends GossipSeams {
  options: GossipOptions
  context: SourceContext
  clock: Clock
  memory: Memory
}

/**
 * The nodes that say on the local network that they are there, by UDP multicast or broadcast; this node says so too, unless the ask
 * is silent. It only listens, so it never gives `complete`. Network trouble is `failed`, with `gossip_bind`, `gossip_interface`,
 * `gossip_unsent` or `gossip_deaf`, and passes within a heartbeat once the network is well.
 */
export function createGossipSource({ clock = systemClock, ...seams }: GossipSeams = {}): Source<GossipOptions> {
  const memory: Memory = { isLeaving: false, stamp: undefined, noted: new Set() }
  return {
    options: gossipOptionsSchema,
    // Every node that is there has said so once in that time, jitter and the way included.
    listenMs: ({ heartbeat }) => 1.2 * heartbeat,
    watch: (options, context) => follow({ ...seams, options, context, clock, memory }),
    leave: (options, context) => takeLeave({ ...seams, options, context, clock, memory }),
  }
}

async function* follow(gossip: Gossip): AsyncGenerator<Observation> {
  const { options, context, clock } = gossip
  const { heartbeat } = options
  const done = new AbortController()
  const signal = AbortSignal.any([context.signal, done.signal])
  if (signal.aborted) return
  let [at, hasNews] = [-Infinity, false]
  let woken = new AbortController()
  const ear = createEar(gossip, () => {
    hasNews = true
    woken.abort()
  })
  function end(): void {
    ear.close()
    woken.abort()
  }
  signal.addEventListener('abort', end, { once: true })
  try {
    for (let isFirst = true; ; isFirst = false) {
      const error = await ear.beat()
      if (signal.aborted) return
      // Before one heartbeat is over nobody is not yet an answer.
      if (error !== undefined || (!isFirst && ear.isHearing())) yield tell(error)
      const waitMs = jitter(heartbeat, clock)
      const dueAt = clock.now() + waitMs
      for (;;) {
        // A clock that is set back must not put off the next heartbeat.
        if (!hasNews) await clock.sleep(Math.min(waitMs, dueAt - clock.now()), woken.signal)
        if (!hasNews || signal.aborted) break
        await clock.sleep(GATHER_MS, signal)
        if (signal.aborted) return
        woken = new AbortController()
        hasNews = false
        yield tell()
        // Who hears ever new nodes says no less often that it is there.
        if (clock.now() >= dueAt) break
      }
      if (signal.aborted) return
    }
  } finally {
    done.abort()
  }

  function tell(error?: RollcallError): Observation {
    const now = context.now()
    // Two in one ms: only a later one is news to the core. A clock that was set back is believed.
    at = now > at || now < at - GATHER_MS ? now : at + 1
    const head = { source: context.source, at }
    if (error !== undefined) return { ...head, outcome: 'failed', error: describeError(error) }
    return { ...head, outcome: 'partial', members: ear.members(), reason: REASON }
  }
}

/** Hears the others, and says that this node is there. */
function createEar(gossip: Gossip, onNews: () => void) {
  const { options, context, memory } = gossip
  const { self, now } = context
  const speaks = self !== undefined && !context.silent
  const wire = wireOf(options)
  const roster = createRoster({ heardMs: Math.max(HEARD_MS, HEARD_BEATS * options.heartbeat) })
  const channel = openChannel({ ...gossip, receive })
  let [unread, unreadSince] = [MAX_DATAGRAMS, now()]
  let unheard = 0
  let wasHearing = true

  function receive(datagram: Uint8Array, from: string): void {
    unheard = 0
    // Heartbeats pause while the agent has not planned with the last one.
    if (now() - unreadSince >= options.heartbeat) [unread, unreadSince] = [MAX_DATAGRAMS, now()]
    if (--unread < 0) return note('flood', from)
    try {
      hear(datagram, from)
    } catch (err) {
      // Nothing from outside may end the process.
      note('malformed', from, { err })
    }
  }

  function hear(datagram: Uint8Array, from: string): void {
    const heard = datagram.length > MAX_BYTES ? { refused: 'malformed' as const } : wire.decode(datagram)
    if ('refused' in heard) return note(heard.refused, from)
    const { node } = heard.beat
    if (node === self) return channel.heard(from)
    const what = roster.hear(heard.beat, now())
    if (what === 'news') onNews()
    if (what === 'full') note(what, from, { node })
    if (what === 'skewed') note(what, from, { node, aheadMs: aheadMs(heard.beat, now()) })
  }

  /** Each kind of trouble once: it comes again with every heartbeat. Other clusters on one network are none. */
  function note(what: keyof typeof NOTES | 'other_cluster', from: string, fields: object = {}): void {
    if (what === 'other_cluster' || memory.noted.has(what)) return
    memory.noted.add(what)
    context.log.warn({ source: context.source, from, ...fields }, NOTES[what])
  }

  async function speak(node: NodeName): Promise<void> {
    const datagram = wire.encode(beatOf(node, gossip))
    if (datagram === undefined) return
    const isDeaf = unheard >= MAX_UNHEARD
    if (isDeaf) {
      channel.close()
      await channel.tend()
    }
    // Before it is sent, for it comes back at once.
    unheard++
    await channel.send(datagram)
    if (isDeaf) throw deaf(options)
  }

  return {
    /** One heartbeat: gives what kept it from being one. */
    async beat(): Promise<RollcallError | undefined> {
      ;[unread, unreadSince] = [MAX_DATAGRAMS, now()]
      roster.sweep(now())
      wasHearing = unheard === 0
      try {
        await channel.tend()
        if (self !== undefined && speaks) await speak(self)
        return undefined
      } catch (error) {
        if (!(error instanceof RollcallError)) throw error
        if (error.code !== 'gossip_deaf') unheard = 0
        return error
      }
    },
    /** Whether the heartbeat before came back: then it may be told that nobody speaks. Who does not speak cannot know. */
    isHearing: () => wasHearing && (speaks || roster.members(now()).length > 0),
    members: () => roster.members(now()),
    close: channel.close,
  }
}

async function takeLeave(gossip: Gossip): Promise<void> {
  const { options, context, clock, memory } = gossip
  const { self, signal } = context
  memory.isLeaving = true
  const wire = wireOf(options)
  if (self === undefined || wire.encode(beatOf(self, gossip)) === undefined) return
  const channel = openChannel({ ...gossip, receive: () => undefined })
  signal.addEventListener('abort', channel.close, { once: true })
  try {
    await channel.tend()
    for (let count = 0; count < FAREWELLS && !signal.aborted; count++) {
      if (count > 0) await clock.sleep(FAREWELL_PAUSE_MS, signal)
      const datagram = wire.encode(beatOf(self, gossip))
      if (datagram !== undefined) await channel.send(datagram)
    }
  } finally {
    signal.removeEventListener('abort', channel.close)
    channel.close()
  }
}

function beatOf(node: NodeName, { memory, context }: Gossip): Required<Beat> {
  memory.stamp = stampAfter(memory.stamp, context.now())
  return { node, status: memory.isLeaving ? 'leaving' : 'up', stamp: memory.stamp }
}

function wireOf(options: GossipOptions): Wire {
  return options.wire === 'libcluster' ? createLibclusterWire(options) : createRollcallWire(options)
}

function aheadMs({ stamp }: Beat, now: number): number {
  return (stamp?.at ?? now) - now
}

function deaf({ port, group, broadcast }: GossipOptions): RollcallError {
  const where = group ?? (broadcast ? 'its broadcast address' : DEFAULT_GROUP)
  const advice = `does a firewall let UDP port ${port} in, is bind 0.0.0.0, and does the interface do ${broadcast ? 'broadcast' : 'multicast'}?`
  const message = `[gossip] expected to hear at least its own datagrams on ${where}, got none of ${MAX_UNHEARD}: ${advice}`
  return new RollcallError('gossip_deaf', message)
}
