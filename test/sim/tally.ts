import { hash64 } from '../../core/hash.ts'
import type { Counts, SeedRun } from './seed-run.ts'
import { SECOND } from './step.ts'

/** What many seeds came to, while they are run and at the end. */
export interface Tally {
  note(done: SeedRun): void
  /** How many seeds are done. */
  readonly done: () => number
  readonly nodeHours: () => string
  /** In lines, for a person. */
  summary(): string[]
  /** Of the hashes of all seeds in their order, whichever was done first. */
  hash(): string
}

/** Has counted nothing yet; `from` is the first seed. */
export function createTally(from: number): Tally {
  const hashes: string[] = []
  const total: Counts = { faults: 0, dials: 0, linksMade: 0, linksCut: 0 }
  let [done, frequent, rare] = [0, 0, 0]
  return {
    note({ seed, size, hash, counts }) {
      hashes[seed - from] = hash
      done++
      const nodeHours = size.nodes * size.hours
      if (size.intervalMs === 5 * SECOND) frequent += nodeHours
      else rare += nodeHours
      for (const name of ['faults', 'dials', 'linksMade', 'linksCut'] as const) total[name] += counts[name]
    },

    done: () => done,
    nodeHours: () => figure(frequent + rare),

    summary: () => [
      `node-hours: ${figure(frequent + rare)} (${figure(frequent)} with polls every 5 s, ${figure(rare)} every 30 s), every agent with its real loop`,
      `faults: ${figure(total.faults)}; dials: ${figure(total.dials)}; links made: ${figure(total.linksMade)}; links cut by a decision: ${figure(total.linksCut)}`,
    ],

    hash: () => hash64(hashes.join(' ')),
  }
}

function figure(value: number): string {
  return Math.round(value).toLocaleString('en')
}
