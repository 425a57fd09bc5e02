import { setTimeout } from 'node:timers/promises'

/**
 * Resolves when `condition` holds; asks again every 50 ms, for other processes push nothing. A condition that throws does not hold
 * yet. Rejects after `timeoutMs` (60 s) naming what was waited for, the last error and what `hint` gives.
 */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  { timeoutMs = 60_000, hint = () => '' }: { timeoutMs?: number; hint?: () => string } = {},
): Promise<void> {
  const deadline = performance.now() + timeoutMs
  let last: unknown
  while (performance.now() < deadline) {
    try {
      if (await condition()) return
    } catch (error) {
      last = error
    }
    await setTimeout(50)
  }
  throw new Error(`waited ${timeoutMs} ms in vain for: ${what}\n${hint()}`, { cause: last })
}
