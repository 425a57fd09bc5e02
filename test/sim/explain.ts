import { clockText } from './history.ts'
import type { Violation } from './invariant.ts'
import { invariants } from './invariants/all.ts'
import { run, type RunOptions } from './run.ts'
import type { Scenario } from './scenario.ts'
import { shrink } from './shrink.ts'

// Of a history that shrinks, each run is as long as the first at most.
const SHRINK_RUNS = 150

/** What led to a violation, for a person: the shortest history that still shows it, its last lines, and the plan with its reasons. */
export async function explain(
  scenario: Scenario,
  violation: Violation,
  { seed, driver = 'agent' }: Pick<RunOptions, 'seed' | 'driver'>,
): Promise<string> {
  const watched = invariants.filter(({ name }) => name === violation.invariant)
  const attempt = (shorter: Scenario) => run(shorter, { seed, driver, invariants: watched })
  const { scenario: shortest } = await shrink(
    { scenario, violation },
    { maxRuns: SHRINK_RUNS, attempt: async (shorter) => (await attempt(shorter)).violations[0] },
  )
  const { world, violations } = await attempt(shortest)
  const { at, message, plan } = violations[0] ?? violation
  return [
    `VIOLATION of ${violation.invariant}`,
    `  at ${clockText(violation.at)}, seed ${seed}: ${violation.message}`,
    `  the shortest history found has ${shortest.steps.length} steps and ends at ${clockText(at)}: ${message}`,
    ...shortest.steps.map((step) => `    ${JSON.stringify(step)}`),
    '  what happened last:',
    ...world.history.tail(25).map((line) => `    ${line}`),
    ...(plan === undefined ? [] : reasonsOf(plan)),
  ].join('\n')
}

function reasonsOf({ connect, disconnect, hold, leave, topologies }: NonNullable<Violation['plan']>): string[] {
  return [
    '  the plan, with its reasons:',
    ...Object.entries(topologies).map(([topology, report]) => `    ${topology} ${JSON.stringify(report)}`),
    ...connect.map(({ node, reason, attempt }) => `    connect ${node}: ${reason}, attempt ${attempt}`),
    ...disconnect.map(({ node, reason }) => `    disconnect ${node}: ${reason}`),
    ...hold.map(({ node, reason }) => `    hold ${node}: ${reason}`),
    `    leave: ${leave}`,
  ]
}
