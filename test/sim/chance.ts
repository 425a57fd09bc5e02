import { hash32 } from '../../core/hash.ts'
import { random } from '../core/rounds.ts'

/**
 * A stream of chance (0 to below 1) of its own for each purpose. What one thing draws then moves nothing elsewhere: a history
 * of which a step is taken out stays the same in all the rest, which shrinking lives on.
 */
export function chance(seed: number, ...purpose: readonly (string | number)[]): () => number {
  return random(hash32(`${seed} ${purpose.join(' ')}`))
}

/** One of the entries. */
export function pick<Entry>(entries: readonly Entry[], next: () => number): Entry {
  const entry = entries[Math.floor(next() * entries.length)]
  if (entry === undefined) throw new RangeError('expected something to pick from, got nothing')
  return entry
}

/** From `low` up to `high`. */
export function between(low: number, high: number, next: () => number): number {
  return low + (high - low) * next()
}
