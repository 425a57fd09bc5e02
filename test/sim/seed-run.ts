import { CUT, LEFT } from './beam.ts'
import { explain } from './explain.ts'
import { randomScenario } from './faults.ts'
import { invariants } from './invariants/all.ts'
import { run } from './run.ts'
import { type Size, sizeOf } from './size.ts'
import type { Witness } from './world.ts'

/** What came of one seed among many; plain data, for it crosses from thread to thread. */
export interface SeedRun {
  readonly seed: number
  readonly size: Size
  readonly hash: string
  /** What went wrong in it, each in a sentence; nothing in a good run. */
  readonly violations: readonly string[]
  /** The history behind each, where that was asked for. */
  readonly explanations: readonly string[]
  readonly counts: Counts
}

/** What happened in runs, in numbers. */
export interface Counts {
  faults: number
  dials: number
  linksMade: number
  /** Links that a decision ended. */
  linksCut: number
}

/** Runs a seed at the size that is its own, with the agent's real loop. `explains`: a violation's history is shrunk at once. */
export async function runSeed(seed: number, { explains }: { explains: boolean }): Promise<SeedRun> {
  const size = sizeOf(seed)
  const scenario = randomScenario(seed, size)
  // What comes back to what it was is no fault of its own.
  const faults = scenario.steps.filter((step) => step.do !== 'start' && step.do !== 'relist').length
  const counts: Counts = { faults, dials: 0, linksMade: 0, linksCut: 0 }
  const { hash, violations } = await run(scenario, { seed, invariants, watch: () => countIn(counts) })
  const explanations: string[] = []
  if (explains) for (const violation of violations) explanations.push(await explain(scenario, violation, { seed }))
  return {
    seed,
    size,
    hash,
    violations: violations.map(({ invariant, message }) => `${invariant}: ${message}`),
    explanations,
    counts,
  }
}

function countIn(counts: Counts): Witness {
  return {
    dialled() {
      counts.dials++
    },
    linkChanged(_a, _b, up, why) {
      if (up) counts.linksMade++
      else if (why.includes(` ${CUT}`) || why.includes(` ${LEFT}`)) counts.linksCut++
    },
  }
}
