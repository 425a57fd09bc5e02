import type { Violation } from './invariant.ts'
import type { Scenario } from './scenario.ts'
import type { Step } from './step.ts'

export interface ShrinkOptions {
  /** Runs a shorter scenario: whether, and when, the same invariant is violated in it. */
  attempt: (scenario: Scenario) => Promise<Violation | undefined>
  /** How many runs it may take: each may be as long as the first. */
  maxRuns: number
}

export interface Shrunk {
  readonly scenario: Scenario
  readonly violation: Violation
}

/**
 * Takes steps out of a scenario as long as the violation stays: first large parts, then smaller ones, then single steps
 * (delta debugging); and all that comes after the violation. Since each thing draws from a chance of its own, what is left happens as before.
 */
export async function shrink(first: Shrunk, { attempt, maxRuns }: ShrinkOptions): Promise<Shrunk> {
  let shortest = cutAfter(first)
  let runs = 0
  for (
    let size = Math.ceil(shortest.scenario.steps.length / 2);
    size >= 1;
    size = size === 1 ? 0 : Math.ceil(size / 2)
  ) {
    let at = 0
    while (at < shortest.scenario.steps.length && runs < maxRuns) {
      const shorter = await without(shortest, at, size)
      runs++
      if (shorter === undefined) at += size
      else shortest = shorter
    }
  }
  return shortest

  async function without({ scenario }: Shrunk, at: number, count: number): Promise<Shrunk | undefined> {
    const steps: Step[] = scenario.steps.toSpliced(at, count)
    const violation = await attempt({ ...scenario, steps })
    return violation && cutAfter({ scenario: { ...scenario, steps }, violation })
  }
}

function cutAfter({ scenario, violation }: Shrunk): Shrunk {
  const steps = scenario.steps.filter(({ at }) => at <= violation.at)
  return { scenario: { ...scenario, steps, durationMs: violation.at + 1 }, violation }
}
