import { measure, type Metrics } from './metrics.ts'
import { run, type RunOptions } from './run.ts'
import type { Run } from './run.ts'
import type { Scenario } from './scenario.ts'

/** Runs a scenario and measures what it cost. */
export async function measured(scenario: Scenario, options: RunOptions): Promise<Run & { metrics: Metrics }> {
  let result: (() => Metrics) | undefined
  const made = await run(scenario, {
    ...options,
    watch(world) {
      const meter = measure(world)
      result = meter.result
      return meter
    },
  })
  if (result === undefined) throw new TypeError('expected the run to be watched')
  return { ...made, metrics: result() }
}
