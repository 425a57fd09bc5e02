import type { RandomOptions } from './faults.ts'
import { chance, pick } from './chance.ts'
import { SECOND } from './step.ts'

// Two sides of a partition need a node each; from number 1000 on the names are those of nodes that come later.
export const NODES = { least: 2, most: 999 }

/** How large the run of a seed is. */
export type Size = Required<RandomOptions>

// Mostly one burst of faults and the calm after it, in which the mesh must come right; in the longest two more meet what the
// first left behind. Half an hour ends in the middle of the faults.
const HOURS = [0.5, 1, 1, 1, 1, 2.5]
// One seed in so many is a large mesh: it costs as much as 50 others.
const LARGE_EVERY = 100
const LARGE = 50
// Small meshes are more often drawn, since they have the rules' corner cases: a budget of one, a majority of two.
const [LEAST, MOST] = [3, 20]
// One seed in so many polls as often as the default says; the others cost a third each, for the same faults.
const FREQUENT_EVERY = 10

/** The size of a seed where many are run: 10 to 11 node-hours on average. */
export function sizeOf(seed: number): Size {
  const next = chance(seed, 'size')
  const isLarge = next() < 1 / LARGE_EVERY
  const nodes = isLarge ? LARGE : LEAST + Math.floor((MOST - LEAST + 1) * next() ** 2)
  const intervalMs = (seed % FREQUENT_EVERY === 0 ? 5 : 30) * SECOND
  return { nodes, hours: pick(HOURS, next), intervalMs }
}

/** The command that runs a seed again, exactly. */
export function replayOf(seed: number, { nodes, hours, intervalMs }: Size): string {
  return `npm run sim -- --seed ${seed} --nodes ${nodes} --hours ${hours} --interval ${intervalMs}`
}
