import { randomInt } from 'node:crypto'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { describeError } from '../../core/error.ts'
import { runSeeds } from './crew.ts'
import { seedOf, wholeNumber } from './flags.ts'
import type { SeedRun } from './seed-run.ts'
import { replayOf, sizeOf } from './size.ts'
import { createTally } from './tally.ts'

const USAGE = `usage: npm run sim:many -- [--seeds 10000] [--from N] [--cores N]

Runs the histories of so many seeds (from a fresh one on, by default; it is printed) on all cores, with the agent's real loop,
and watches the invariants (a) to (k). 10000 seeds are more than 100,000 node-hours: 3 to 20 nodes, one seed in 100 has 50, for half
an hour to two and a half; a tenth of the seeds polls every 5 s, the rest every 30 s.
Ends with 1 where an invariant is violated, with the command that replays it. Ctrl-C prints what was done until then.
`
const PROGRESS_MS = 30_000
// Fresh seeds are short enough to be written down.
const SEED_LIMIT = 1_000_000_000
// To shrink a history takes minutes; whoever has found three causes has enough to do.
const EXPLAINED = 3

interface Given {
  readonly from: number
  readonly count: number
  readonly cores: number
  readonly help: boolean
}

async function main(): Promise<number> {
  const given = readArguments()
  if (given instanceof Error) {
    process.stderr.write(`${given.message}\n\n${USAGE}`)
    return 2
  }
  if (given.help) {
    process.stdout.write(USAGE)
    return 0
  }
  return await runMany(given)
}

function readArguments(): Given | Error {
  try {
    const { values } = parseArgs({
      options: {
        seeds: { type: 'string', default: '10000' },
        from: { type: 'string', default: String(randomInt(SEED_LIMIT)) },
        cores: { type: 'string', default: String(availableParallelism()) },
        help: { type: 'boolean', default: false },
      },
    })
    const count = wholeNumber('seeds', values.seeds, { least: 1, most: 10_000_000 })
    const cores = wholeNumber('cores', values.cores, { least: 1, most: 1_024 })
    return { from: seedOf('from', values.from), count, cores, help: values.help }
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}

async function runMany({ from, count, cores }: Given): Promise<number> {
  const begun = performance.now()
  const stopped = new AbortController()
  const tally = createTally(from)
  const range = `${from} to ${from + count - 1}`
  let violations = 0

  function note(run: SeedRun): void {
    tally.note(run)
    for (const violation of run.violations) complain(run.seed, violation)
    for (const explanation of run.explanations) console.log(explanation)
  }

  function complain(seed: number, what: string): void {
    violations++
    console.log(`VIOLATION with seed ${seed}: ${what}\n  ${replayOf(seed, sizeOf(seed))}`)
  }

  function elapsed(): string {
    const seconds = Math.round((performance.now() - begun) / 1_000)
    return `${Math.floor(seconds / 60)} min ${seconds % 60} s`
  }

  function showProgress(): void {
    const done = tally.done()
    const leftMs = ((performance.now() - begun) / done) * (count - done)
    const left = done === 0 ? '' : `, ${Math.ceil(leftMs / 60_000)} min left`
    console.log(
      `${elapsed()}: ${done} of ${count} seeds, ${tally.nodeHours()} node-hours, ${violations} violations${left}`,
    )
  }

  console.log(`seeds ${range}, ${cores} at a time (again: npm run sim:many -- --seeds ${count} --from ${from})`)
  const stop = () => stopped.abort()
  const progress = setInterval(showProgress, PROGRESS_MS)
  // A second Ctrl-C ends it as ever.
  process.once('SIGINT', stop).once('SIGTERM', stop)
  await runSeeds({
    from,
    count,
    cores,
    signal: stopped.signal,
    explains: () => violations < EXPLAINED,
    onRun: note,
    onCrash: (seed, error) => complain(seed, `its thread ended: ${describeError(error).message}`),
  })
  clearInterval(progress)
  process.off('SIGINT', stop).off('SIGTERM', stop)

  const isWhole = tally.done() === count
  console.log(`\n${isWhole ? 'all' : `only ${tally.done()}`} of the ${count} seeds ${range}`)
  for (const line of tally.summary()) console.log(line)
  console.log(`violations: ${violations}`)
  console.log(`took ${elapsed()} on ${cores} cores`)
  if (isWhole) console.log(`hash ${tally.hash()} of the hashes of all seeds, in their order`)
  if (violations > 0) return 1
  return isWhole ? 0 : 130
}

process.exitCode = await main()
