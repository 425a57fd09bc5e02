import type { Log } from '../functions/resolvers/source.ts'
import { type Clock, withDeadline } from './clock.ts'
import type { OpenSource } from './strategies/index.ts'

// Of the 15 s that `rollcall leave` waits, the mesh itself has 10: a source that does not answer must not take them.
const TIMEOUT_MS = 2_000

/** Lets every source that can tell others that this node leaves do so. Never rejects: one that fails is logged, and the node leaves all the same. */
export async function sayFarewell(
  sources: readonly OpenSource[],
  { signal, clock, log }: { signal: AbortSignal; clock: Clock; log: Log },
): Promise<void> {
  await Promise.all(
    sources.map(async ({ id, leave }) => {
      if (leave === undefined) return
      try {
        await withDeadline(leave, { ms: TIMEOUT_MS, signal, clock, expected: `[${id}] expected to take leave` })
      } catch (err) {
        log.warn({ err, source: id }, 'the source could not tell that this node leaves')
      }
    }),
  )
}
