import { type FunctionOptions, functionOptionsSchema } from '../../core/config.ts'
import { describeError } from '../../core/error.ts'
import type { Observation } from '../../core/member.ts'
import type { NodeName } from '../../core/node.ts'
import { type Asked, type Client, createClient, type Listing } from '../../functions/client.ts'
import type { Source, SourceContext } from '../../functions/resolvers/source.ts'
import { type Clock, jitter, systemClock } from '../clock.ts'
import { createLease, type Lease } from './function-lease.ts'
import { createLimit, failureWaitMs } from './pace.ts'

// The default of a topology, where no agent says how often it would ask.
const INTERVAL_MS = 5_000
// Half of the minute after which load balancers cut what is idle, and below the 30 s that a function waits at most.
const WAIT_MS = 25_000
// Of what was to be waited: a function that gave nothing new before did not wait.
const WAITED = 0.9
// Twice the default of `confirm`, the longest time over which the answers must leave out a node.
const HURRY_MS = 600_000
// Who is asked once, by cron say, is the same node each time: a random id would be a new start of it to the others.
const ONCE = 'once'

export interface FunctionSeams {
  clock?: Clock
  newId?: () => string
}

/**
 * Who is in a topology, as a deployed rollcall function says. It keeps the last answer and asks whether that still holds; what
 * is stale there is `failed` here, with its members. `watch` has the function wait for a change. With `register` this node is
 * registered there: by `watch` for as long as it lives, by `look` for one lease. Throws the code of the function's problem,
 * `http_<status>`, `unreachable`, `timeout` or `bad_answer`. Each call makes one with a memory of its own.
 */
export function createFunctionSource({
  clock = systemClock,
  newId = () => crypto.randomUUID(),
}: FunctionSeams = {}): Source<FunctionOptions> {
  const read = createReader()
  let client: Client | undefined
  let lease: Lease | undefined
  let id: string | undefined

  function clientOf({ url, topology = '', token, timeout }: FunctionOptions, { fetch, now }: SourceContext): Client {
    // Who asks again and again needs no retries.
    const rest = { fetch, clock: { ...clock, now }, timeoutMs: timeout, retries: 0 }
    client ??= createClient({ url, topology, token, ...rest })
    return client
  }

  /** Undefined where this node is not to be registered. */
  function leaseOf(options: FunctionOptions, context: SourceContext): Lease | undefined {
    const { self, source, log, address = () => undefined } = context
    const { register } = options
    if (!register || self === undefined || context.silent) return undefined
    const { ttl: ttlMs, meta } = register === true ? {} : register
    const own = {
      client: clientOf(options, context),
      source,
      self,
      address,
      log,
      clock: { ...clock, now: context.now },
    }
    lease ??= createLease({ ...own, ttlMs, meta, id: () => id ?? ONCE })
    return lease
  }

  return {
    options: functionOptionsSchema,

    async look(options, context) {
      const { signal, source } = context
      const registered = await leaseOf(options, context)?.announce(signal, { members: true })
      return read(registered ?? (await clientOf(options, context).members({ signal })), source)
    },

    watch(options, context) {
      id ??= newId()
      return follow({ client: clientOf(options, context), lease: leaseOf(options, context), context, clock, read })
    },

    async leave(options, context) {
      await leaseOf(options, context)?.leave(context.signal)
    },
  }
}

interface Following {
  client: Client
  lease: Lease | undefined
  context: SourceContext
  clock: Clock
  read: (listing: Listing, source: string) => Observation
}

async function* follow({ client, lease, context, clock, read }: Following): AsyncGenerator<Observation> {
  const { source, now, intervalMs = INTERVAL_MS } = context
  const done = new AbortController()
  const signal = AbortSignal.any([context.signal, done.signal])
  if (signal.aborted) return
  const limit = createLimit(intervalMs, clock)
  const isHurried = createHurry(clock)
  // How long an answer may be waited for on the way there: less than the function would, where something cuts it.
  let longestMs = WAIT_MS
  let [failures, revision] = [0, '']
  let first = await lease?.announce(signal, { members: true })
  const renewing = lease?.keep(signal)

  async function ask(waitMs: number): Promise<Listing> {
    const startedAt = clock.now()
    try {
      const listing = first ?? (await client.members({ waitMs, signal }))
      first = undefined
      return listing
    } catch (error) {
      const tookMs = clock.now() - startedAt
      if (signal.aborted || tookMs < intervalMs) throw error
      // Cut on the way, perhaps: a proxy that waits for less. Asked plainly the function says whether it is there.
      longestMs = Math.max(Math.min(intervalMs, WAIT_MS), tookMs / 2)
      return await client.members({ signal })
    }
  }

  try {
    while (!signal.aborted) {
      const startedAt = clock.now()
      const waitMs = Math.floor(jitter(isHurried() ? Math.min(intervalMs, longestMs) : longestMs, clock))
      let listing: Listing
      try {
        listing = await ask(waitMs)
      } catch (thrown) {
        if (signal.aborted) return
        const error = describeError(thrown)
        yield { source, at: now(), outcome: 'failed', error }
        await clock.sleep(failureWaitMs(error, { failures: failures++, intervalMs, clock }), signal)
        continue
      }
      if (signal.aborted) return
      failures = 0
      lease?.heed(listing)
      const observation = read(listing, source)
      const isNews = listing.revision !== revision
      revision = listing.revision
      if (isNews) isHurried(observation)
      yield observation
      const tookMs = Math.max(0, clock.now() - startedAt)
      if (isNews) await limit(signal)
      else if (listing.waits && tookMs >= WAITED * waitMs) longestMs = Math.min(WAIT_MS, 2 * longestMs)
      else await clock.sleep(jitter(intervalMs, clock) - tookMs, signal)
    }
  } finally {
    done.abort()
    await renewing
  }
}

/**
 * Whether answers are wanted at each interval. A miss counts for at most one: were answers 25 s apart while a node is left out,
 * an interval of 5 s would make a grace of one minute five. So it is at the start, of which an earlier run may know more, and after
 * each answer that leaves somebody out who was there.
 */
function createHurry(clock: Clock): (observation?: Observation) => boolean {
  let names = new Set<NodeName>()
  let until = clock.now() + HURRY_MS
  return (observation) => {
    if (observation !== undefined && observation.outcome !== 'failed') {
      const { members, outcome } = observation
      const listed = new Set(members.map(({ node }) => node))
      const leftOut = [...names].filter((node) => !listed.has(node))
      if (outcome === 'complete' && leftOut.length > 0) until = clock.now() + HURRY_MS
      // Who is leaving may go unseen: nobody counts for how long it is left out.
      const stay = members.flatMap(({ node, status }) => (status === 'up' ? [node] : []))
      names = new Set(outcome === 'complete' ? stay : [...stay, ...leftOut])
    }
    return clock.now() < until
  }
}

/** What a listing is to the core: an observation of when the sources behind it were asked, the same one while they were not. */
function createReader(): (listing: Listing, source: string) => Observation {
  let last: Listing | undefined
  let observation: Observation | undefined
  return (listing, source) => {
    const { asked, revision } = listing
    if (listing.stale || listing.outcome === 'failed') {
      // It fails now, however old its last answer is.
      observation = { source, at: asked.latest + listing.ageMs, ...staleOutcome(listing) }
    } else if (last === undefined || observation === undefined || !overlap(last.asked, asked)) {
      observation = { source, at: asked.earliest, ...outcomeOf(listing) }
    } else if (revision !== last.revision || observation.outcome === 'failed') {
      // One of several sources was asked again, and not the one whose age this is: news all the same.
      observation = { source, at: observation.at + 1, ...outcomeOf(listing) }
    } else {
      // Nobody was asked again there: the same observation, which counts once.
      return observation
    }
    last = listing
    return observation
  }
}

function overlap(a: Asked, b: Asked): boolean {
  return a.earliest <= b.latest && b.earliest <= a.latest
}

function outcomeOf(listing: Listing) {
  const { members, flaw, outcome } = listing
  if (outcome === 'complete' && flaw === undefined) return { outcome, members }
  const reason = flaw ?? (failuresOf(listing) || 'the function says that it is partial')
  return { outcome: 'partial' as const, members, reason }
}

function staleOutcome(listing: Listing) {
  const message = `[function] expected a fresh answer, got one of ${Math.round(listing.ageMs / 1_000)} s ago: ${failuresOf(listing)}`
  return { outcome: 'failed' as const, members: listing.members, error: { code: 'stale', message } }
}

function failuresOf({ sources }: Listing): string {
  const failing = sources.filter(({ outcome }) => outcome !== 'complete')
  return failing
    .map(({ source, outcome, error }) => `${source} is ${outcome}${error ? ` (${error.code})` : ''}`)
    .join(', ')
}
