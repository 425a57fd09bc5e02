import type { AuthEntry, Config } from '../core/config.ts'
import type { Authenticate } from './auth.ts'
import { problem } from './problem.ts'

/** How many calls may come: `burst` at once, then `perSecond`. */
interface Rate {
  readonly burst: number
  readonly perSecond: number
}

// One token may be that of every agent of a topology. As many as it holds by default (10000) may come at once, after a restart of
// this; asking every 5 s and renewing every 10 s they are 3000 calls a second.
const CALLER: Rate = { burst: 10_000, perSecond: 5_000 }
// Of strangers all together, for what they call themselves is theirs to choose. A deployment with a wrong token still reads 401.
const STRANGERS: Rate = { burst: 1_000, perSecond: 100 }

/**
 * The check of tokens with that of how many calls come with each, in this instance. Throws `too_many_requests` besides. Without
 * tokens there is nobody to tell from others: `auth: none` has no limit.
 */
export function createGate(authenticate: Authenticate, auth: Config['auth'], now: () => number): Authenticate {
  if (auth === undefined || auth === 'none') return authenticate
  const takeAsStranger = createBucket(STRANGERS, now)
  const takes = new Map(auth.map((entry) => [entry, createBucket(CALLER, now)]))

  return async (authorization) => {
    let caller: AuthEntry
    try {
      caller = await authenticate(authorization)
    } catch (error) {
      takeAsStranger()
      throw error
    }
    takes.get(caller)?.()
    return caller
  }
}

/** A token bucket. Taking from it throws `too_many_requests` when it is empty. */
function createBucket({ burst, perSecond }: Rate, now: () => number): () => void {
  let level = burst
  let filledAt = now()
  return () => {
    const time = now()
    level = Math.min(burst, level + (Math.max(0, time - filledAt) * perSecond) / 1_000)
    filledAt = time
    if (level < 1) {
      throw problem('too_many_requests', 'function', `at most ${perSecond} calls a second, got more`, 1_000)
    }
    level--
  }
}
