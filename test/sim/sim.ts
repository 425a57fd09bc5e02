import { parseArgs } from 'node:util'
import { randomScenario } from './faults.ts'
import { clockText } from './history.ts'
import { invariants } from './invariants/all.ts'
import type { Violation } from './invariant.ts'
import { run } from './run.ts'
import { shrink } from './shrink.ts'
import type { World } from './world.ts'

const HELP = `npm run sim -- [--seed N] [--seeds COUNT] [--nodes 50] [--hours 24] [--interval MS] [--driver agent|plan]
Replays the history that follows from a seed (of --seeds so many, from it on) and watches the invariants (a) to (i).
--driver plan leaves the agent's loop out: faster. --verbose prints the last lines of the history.`

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '1' },
    nodes: { type: 'string', default: '50' },
    hours: { type: 'string', default: '24' },
    interval: { type: 'string', default: '5000' },
    driver: { type: 'string', default: 'agent' },
    verbose: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
// Of a history that shrinks, each run is as long as the first at most.
const SHRINK_RUNS = 150

if (values.help) console.log(HELP)
else await main()

async function main(): Promise<void> {
  const [first, count] = [Number(values.seed), Number(values.seeds)]
  for (let seed = first; seed < first + count; seed++) await replay(seed)
}

async function replay(seed: number): Promise<void> {
  const driver = values.driver === 'plan' ? 'plan' : 'agent'
  const size = { nodes: Number(values.nodes), hours: Number(values.hours), intervalMs: Number(values.interval) }
  const scenario = randomScenario(seed, size)
  const begun = performance.now()
  const { world, hash, violations } = await run(scenario, { seed, driver, invariants })
  if (values.verbose) for (const line of world.history.tail(500)) console.log(line)
  for (const violation of violations) {
    const name = violation.invariant
    console.log(`\nVIOLATION of ${name}\n  at ${clockText(violation.at)}, seed ${seed}: ${violation.message}`)
    const watched = invariants.filter((invariant) => invariant.name === name)
    let shortestWorld: World = world
    const { scenario: shortest, violation: last } = await shrink(
      { scenario, violation },
      {
        maxRuns: SHRINK_RUNS,
        async attempt(shorter) {
          const made = await run(shorter, { seed, driver, invariants: watched })
          if (made.violations[0] !== undefined) shortestWorld = made.world
          return made.violations[0]
        },
      },
    )
    printShortest(shortest.steps, last, shortestWorld)
    process.exitCode = 1
  }
  const [seconds, lines] = [((performance.now() - begun) / 1_000).toFixed(1), world.history.length()]
  const { nodes, hours, intervalMs } = size
  const what = `seed ${seed} nodes ${nodes} hours ${hours} interval ${intervalMs} ms driver ${driver}`
  console.log(`${what}: ${lines} lines, ${violations.length} violations, hash ${hash} (${seconds} s)`)
}

function printShortest(steps: readonly object[], { at, message, plan }: Violation, { history }: World): void {
  console.log(`  the shortest history found has ${steps.length} steps and ends at ${clockText(at)}: ${message}`)
  for (const step of steps) console.log(`    ${JSON.stringify(step)}`)
  console.log('  what happened last:')
  for (const line of history.tail(25)) console.log(`    ${line}`)
  if (plan === undefined) return
  console.log('  the plan, with its reasons:')
  const { connect, disconnect, hold, leave, topologies } = plan
  for (const [topology, report] of Object.entries(topologies)) console.log(`    ${topology} ${JSON.stringify(report)}`)
  for (const { node, reason, attempt } of connect) console.log(`    connect ${node}: ${reason}, attempt ${attempt}`)
  for (const { node, reason } of disconnect) console.log(`    disconnect ${node}: ${reason}`)
  for (const { node, reason } of hold) console.log(`    hold ${node}: ${reason}`)
  console.log(`    leave: ${leave}`)
}
