import { parseArgs } from 'node:util'
import { explain } from './explain.ts'
import { randomScenario } from './faults.ts'
import { durationOf, hoursOf, seedOf, wholeNumber } from './flags.ts'
import { invariants } from './invariants/all.ts'
import { run } from './run.ts'
import { NODES, type Size } from './size.ts'

const USAGE = `usage: npm run sim -- [--seed N] [--seeds COUNT] [--nodes 50] [--hours 24] [--interval 5s] [--driver agent|plan] [--verbose]

Replays the history that follows from a seed (of --seeds so many, from it on) and watches the invariants (a) to (k).
--driver plan leaves the agent's loop out: faster. --verbose prints the last lines of the history.
Ends with 1 where one is violated, with the shortest history that shows it; "npm run sim:many" runs many seeds on all cores.
`

interface Given {
  readonly first: number
  readonly count: number
  readonly size: Size
  readonly driver: 'agent' | 'plan'
  readonly verbose: boolean
  readonly help: boolean
}

async function main(): Promise<void> {
  const given = readArguments()
  if (given instanceof Error) {
    process.stderr.write(`${given.message}\n\n${USAGE}`)
    process.exitCode = 2
    return
  }
  if (given.help) return void process.stdout.write(USAGE)
  for (let seed = given.first; seed < given.first + given.count; seed++) await replay(seed, given)
}

function readArguments(): Given | Error {
  try {
    const { values } = parseArgs({
      options: {
        seed: { type: 'string', default: '1' },
        seeds: { type: 'string', default: '1' },
        nodes: { type: 'string', default: '50' },
        hours: { type: 'string', default: '24' },
        interval: { type: 'string', default: '5s' },
        driver: { type: 'string', default: 'agent' },
        verbose: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    })
    const { driver, verbose, help } = values
    if (driver !== 'agent' && driver !== 'plan') {
      throw new RangeError(`expected --driver to be agent or plan, got ${driver}`)
    }
    const size = {
      nodes: wholeNumber('nodes', values.nodes, NODES),
      hours: hoursOf('hours', values.hours),
      intervalMs: durationOf('interval', values.interval),
    }
    const count = wholeNumber('seeds', values.seeds, { least: 1, most: 1_000_000 })
    return { first: seedOf('seed', values.seed), count, size, driver, verbose, help }
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}

async function replay(seed: number, { size, driver, verbose }: Given): Promise<void> {
  const scenario = randomScenario(seed, size)
  const begun = performance.now()
  const { world, hash, violations } = await run(scenario, { seed, driver, invariants })
  if (verbose) for (const line of world.history.tail(500)) console.log(line)
  for (const violation of violations) {
    console.log(`\n${await explain(scenario, violation, { seed, driver })}`)
    process.exitCode = 1
  }
  const [seconds, lines] = [((performance.now() - begun) / 1_000).toFixed(1), world.history.length()]
  const { nodes, hours, intervalMs } = size
  const what = `seed ${seed} nodes ${nodes} hours ${hours} interval ${intervalMs} ms driver ${driver}`
  console.log(`${what}: ${lines} lines, ${violations.length} violations, hash ${hash} (${seconds} s)`)
}

await main()
