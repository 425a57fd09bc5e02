import { setTimeout } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { durationOf, seedOf } from '../../sim/flags.ts'
import { until } from '../until.ts'
import { createCalamities } from './calamity.ts'
import { type Census, takeCensus } from './census.ts'
import type { Fault } from './faults.ts'
import { kindOf, print, report, type Story, summarise } from './soak-report.ts'
import { createWatch, type Watch } from './watch.ts'
import { createWorld, type World } from './world.ts'

const USAGE = `usage: npm run soak -- [--minutes 30] [--every 10s] [--seed N]

Lets a mesh of five Erlang nodes with sidecars and ten members, on hosts of their own, go through a fault every 10 s, drawn from
the seed (a random one by default, printed). Needs root, erl, named, nsupdate and nft. Ctrl-C ends it early, with the figures so far.
Ends with 1 where a link was lost that no fault explains, a link was not back in time, or a process ended by itself.
`

// Often enough to say how long a link was away; each look costs a question to five nodes.
const LOOK_MS = 500
const CENSUS_MS = 5_000

interface Given {
  readonly forMs: number
  readonly everyMs: number
  readonly seed: number
  readonly help: boolean
}

function readArguments(): Given | Error {
  try {
    const { values } = parseArgs({
      options: {
        minutes: { type: 'string', default: '30' },
        every: { type: 'string', default: '10s' },
        seed: { type: 'string', default: String(Date.now() % 1_000_000) },
        help: { type: 'boolean', default: false },
      },
    })
    const forMs = durationOf('minutes', `${values.minutes}m`)
    const everyMs = durationOf('every', values.every)
    return { forMs, everyMs, seed: seedOf('seed', values.seed), help: values.help }
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}

/** One fault from its begin to its end; cut short by the signal. */
async function strike(
  watch: Watch,
  { fault, lastsMs }: { fault: Fault; lastsMs: number },
  signal: AbortSignal,
): Promise<void> {
  const episode = await watch.begin(fault)
  await setTimeout(lastsMs, undefined, { signal }).catch(() => undefined)
  await watch.end(episode)
}

/** Strikes until the time is over or the signal says so, and then until all faults have ended. */
async function goThrough(
  { world, watch, story }: { world: World; watch: Watch; story: Story },
  { everyMs, seed, signal }: { everyMs: number; seed: number; signal: AbortSignal },
): Promise<void> {
  const draw = createCalamities(world, seed)
  const taken = new Set<string>()
  const underWay = new Set<Promise<void>>()
  while (!signal.aborted) {
    const calamity = draw((place) => taken.has(place))
    if (calamity !== undefined) {
      const { kind, label, places } = calamity.fault
      story.faults.set(kind, (story.faults.get(kind) ?? 0) + 1)
      for (const place of places) taken.add(place)
      const struck = strike(watch, calamity, signal)
        .catch((error: unknown) => void story.broken.push(new Error(label, { cause: error })))
        .finally(() => {
          for (const place of places) taken.delete(place)
          underWay.delete(struck)
        })
      underWay.add(struck)
    }
    await setTimeout(everyMs, undefined, { signal }).catch(() => undefined)
  }
  await Promise.all(underWay)
}

/** Looks on for as long as the signal lets it; what it sees of the links the watch keeps. */
async function lookOn(
  { watch, census, story }: { watch: Watch; census: Census; story: Story },
  { stop, signal }: { stop: () => void; signal: AbortSignal },
): Promise<void> {
  let countedAt = 0
  while (!signal.aborted) {
    await watch.look()
    if (performance.now() - countedAt > CENSUS_MS) {
      countedAt = performance.now()
      for (const label of await census.died()) story.died.add(label)
      for (const [label, { peakBytes }] of await census.read()) {
        const kind = kindOf(label)
        story.peaks.set(kind, Math.max(peakBytes, story.peaks.get(kind) ?? 0))
      }
      // The rest would only tell of what is missing since.
      if (story.died.size > 0) stop()
    }
    await setTimeout(LOOK_MS, undefined, { signal }).catch(() => undefined)
  }
}

async function main(): Promise<void> {
  const given = readArguments()
  if (given instanceof Error) {
    process.stderr.write(`${given.message}\n\n${USAGE}`)
    process.exitCode = 2
    return
  }
  if (given.help) return void process.stdout.write(USAGE)
  const { forMs, everyMs, seed } = given
  const ending = new AbortController()
  const { promise: interrupted, resolve: interrupt } = Promise.withResolvers<'interrupted'>()
  // Until there is something to tell.
  let onSignal = (): void => process.exit(1)
  // Before the network is made, which else ends the process at a signal.
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => onSignal())
  print(`seed ${seed}: ${forMs / 60_000} minutes with a fault every ${everyMs} ms`)
  const world = await createWorld({ erlang: 5, members: 10 })
  try {
    const watch = createWatch(world.nodes)
    const isWhole = async () =>
      (await watch.look()).length === 0 && world.nodes.every(({ told }) => told.size === world.nodes.length - 1)
    await until('the mesh to form', isWhole)
    const census = await takeCensus(world)
    const story: Story = { faults: new Map(), peaks: new Map(), died: new Set(), broken: [] }
    const startedAt = performance.now()
    const looking = new AbortController()
    onSignal = () => {
      ending.abort()
      looking.abort()
      interrupt('interrupted')
    }
    const timer = globalThis.setTimeout(() => ending.abort(), forMs)
    const minutes = setInterval(() => report(startedAt, { watch, story }), 60_000)

    async function soak(): Promise<void> {
      const onlooker = lookOn({ watch, census, story }, { stop: () => ending.abort(), signal: looking.signal })
      // Without its eyes it would go on for nothing.
      onlooker.catch(() => ending.abort())
      await goThrough({ world, watch, story }, { everyMs, seed, signal: ending.signal })
      await until('the mesh to be whole at the end', isWhole)
      await census.settled()
      looking.abort()
      await onlooker
    }

    // Ctrl-C ends the other programs as well: what is under way may then never end, and what broke tells nothing.
    const soaked = soak().catch((error: unknown) => void story.broken.push(error))
    const isEarly = (await Promise.race([soaked, interrupted])) === 'interrupted'
    clearTimeout(timer)
    clearInterval(minutes)
    await summarise({ watch, census, story })
    if (isEarly) story.broken.length = 0
    if (isEarly) print('\nended early')
    for (const error of story.broken) console.error(error)
    const isSound = watch.wrong.length + watch.late.length + story.died.size + story.broken.length === 0
    process.exitCode = isSound ? 0 : 1
  } finally {
    await world.end()
  }
  // After a signal something may still wait for a program that has ended.
  process.exit()
}

await main()
