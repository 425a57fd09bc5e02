import type { Target } from './target.ts'

// Each try is one run of the target.
const MAX_TRIES = 2_000

/** The shortest input found, by leaving out ever smaller pieces, that makes the target throw still. */
export async function shrink({ run }: Target, failing: Uint8Array): Promise<Uint8Array> {
  let shortest = Buffer.from(failing)
  let tries = 0
  for (let size = shortest.length >> 1; size >= 1 && tries < MAX_TRIES; size >>= 1) {
    for (let at = 0; at < shortest.length && tries < MAX_TRIES; tries++) {
      const shorter = Buffer.concat([shortest.subarray(0, at), shortest.subarray(at + size)])
      const fails = await attempt(async () => await run(shorter))
      if (fails) shortest = shorter
      else at += size
    }
  }
  return shortest
}

async function attempt(run: () => Promise<void>): Promise<boolean> {
  try {
    await run()
    return false
  } catch {
    return true
  }
}
