import { describeError } from '../../core/error.ts'
import type { Member } from '../../core/member.ts'
import type { NodeName } from '../../core/node.ts'
import type { Client, Listing } from '../../functions/client.ts'
import type { Log } from '../../functions/resolvers/source.ts'
import { backoffMs, type Clock } from '../clock.ts'

/** The lease that a node holds with a function, under one id. */
export interface Lease {
  /** Registers or renews; gives the members where they are wanted and came. A failure is logged, and undefined: it keeps nobody from looking. */
  announce(signal: AbortSignal, options?: { members?: boolean }): Promise<Listing | undefined>
  /** Renews until `signal`. Resolves when no call is under way. */
  keep(signal: AbortSignal): Promise<void>
  /** Reads in a listing whether another start of the node holds the lease now. */
  heed(listing: Listing): void
  /** Ends the lease, and renews no more. Rejects with what the function answers. */
  leave(signal: AbortSignal): Promise<void>
}

export interface LeaseOptions {
  client: Client
  source: string
  self: NodeName
  address: () => Member['address']
  /** Wanted: what the function grants may be less. */
  ttlMs: number | undefined
  meta: Readonly<Record<string, string>> | undefined
  clock: Clock
  log: Log
  /** Gives the id of this start, the same at each call. */
  id: () => string
}

// The default of a registry, for what is tried before one has said what it grants.
const TTL_MS = 30_000
// Whoever answers: below it a renewal would follow the other.
const MIN_TTL_MS = 1_000
// Of a lease, from the start of the call before. The registry writes nothing while more than two thirds are left: who came earlier
// would have to come again.
const [EARLIEST, LATEST] = [1 / 3, 0.4]
// A failed renewal is tried again so much sooner than it is due: 1 s of the 10 s in a lease of 30.
const RETRY_PART = 10

/** Makes the lease of a node. Nothing happens before the first call. */
export function createLease({ client, source, self, address, ttlMs, meta, clock, log, id }: LeaseOptions): Lease {
  let grantedMs = ttlMs ?? TTL_MS
  let [failures, nextAt] = [0, 0]
  let registeredAt: number | undefined
  // Why nothing is announced: it has left for good, or another start of it is there.
  let [hasLeft, isReplaced] = [false, false]
  let failing: string | undefined
  let isTold = false
  let underWay: Promise<unknown> = Promise.resolve()
  const ends = (signal: AbortSignal) => signal.aborted || hasLeft

  async function renew(signal: AbortSignal, wanted: boolean): Promise<Listing | undefined> {
    if (ends(signal) || isReplaced) return undefined
    const at = address()
    const own = { ...(at && { address: at }), ...(meta && { meta }) }
    const startedAt = clock.now()
    try {
      const registered = await client.register(
        { node: self, id: id(), ...(ttlMs !== undefined && { ttlMs }), ...own },
        { signal, members: wanted },
      )
      noteGrant(registered.ttlMs)
      nextAt = startedAt + (EARLIEST + (LATEST - EARLIEST) * clock.random()) * grantedMs
      return registered.listing
    } catch (error) {
      if (signal.aborted) return undefined
      noteFailure(error)
      return undefined
    }
  }

  function noteGrant(granted: number): void {
    grantedMs = Math.max(MIN_TTL_MS, granted)
    registeredAt ??= clock.now()
    if (failing !== undefined || failures > 0) log.info({ source }, 'this node is registered again')
    failing = undefined
    failures = 0
    if (ttlMs === undefined || granted >= ttlMs || isTold) return
    isTold = true
    log.warn({ source, ttlMs: granted }, `the registry grants a shorter lease than ${ttlMs} ms: raise its ttl`)
  }

  function noteFailure(error: unknown): void {
    const { code, message, retryAfterMs = 0 } = describeError(error)
    const thirdMs = grantedMs / 3
    const pauseMs = backoffMs(failures, { baseMs: thirdMs / RETRY_PART, maxMs: thirdMs, clock })
    failures++
    nextAt = clock.now() + Math.max(pauseMs, Math.min(retryAfterMs, thirdMs))
    if (code === 'left') hasLeft = true
    // Each failure would say so at each renewal.
    if (failing !== code) log.warn({ source, code, err: error }, `this node could not be registered: ${message}`)
    failing = code
  }

  /** One call after the other: whoever leaves waits for the last of them. */
  async function announce(signal: AbortSignal, { members = false } = {}): Promise<Listing | undefined> {
    const renewing = underWay.then(() => renew(signal, members))
    underWay = renewing
    return await renewing
  }

  return {
    announce,

    async keep(signal) {
      while (!ends(signal)) {
        const latestMs = LATEST * grantedMs
        // A clock that was set back must not put it off. Who was replaced looks now and then whether the other is gone.
        await clock.sleep(isReplaced ? latestMs : Math.min(nextAt - clock.now(), latestMs), signal)
        if (!signal.aborted) await announce(signal)
      }
      await underWay
    },

    heed({ members, asked }) {
      // What was asked before this node had registered tells of an earlier start.
      if (registeredAt === undefined || asked.earliest < registeredAt) return
      const listed = members.find(({ node }) => node === self)
      const isOther = listed?.id !== undefined && listed.id !== id()
      if (isOther && !isReplaced) {
        const advice = 'end one of the two, or give it another name'
        log.warn(
          { source, code: 'replaced' },
          `another start of ${self} has registered, so this one does not: ${advice}`,
        )
      }
      isReplaced = isOther
    },

    async leave(signal) {
      hasLeft = true
      // A renewal that came after it would be refused, but one that is the first would bring the node back.
      await underWay
      await client.leave({ node: self, id: id() }, { signal })
    },
  }
}
