import { once } from 'node:events'
import { parseArgs } from 'node:util'
import { parseDuration } from '../core/duration.ts'
import { RollcallError } from '../core/error.ts'
import { createMesh } from './mesh.ts'
import { openScreen } from './screen.ts'
import { playStory, stayLive } from './story.ts'
import { missing } from './view.ts'

const HELP = `npm run demo [-- --for 20s]

Starts a function and five nodes that find each other through it, kills the node that serves epmd for all, and starts it
again. Then it stays: kill nodes yourself, and watch. Everything listens on loopback only, at free ports.

  --for <duration>  end by itself after this time
  --help            show this

Exit codes: 0 done, also by Ctrl-C; 1 the mesh has not formed and healed; 2 wrong use.
NO_COLOR is heeded. Where stdout is no terminal, each change is a line.
`
const NAMES = ['ada', 'bob', 'cyd', 'dee', 'eve']
const TIME_IS_UP = 'the time is up'
// A timer of more than 24 days would fire at once.
const MAX_TIMER_MS = 2 ** 31 - 1

process.exitCode = await main(process.argv.slice(2))

async function main(args: string[]): Promise<number> {
  try {
    const { help, forMs } = readOptions(args)
    if (help) process.stdout.write(HELP)
    else await run(forMs)
    return 0
  } catch (error) {
    if (!(error instanceof RollcallError)) throw error
    process.stderr.write(`${error.message}\n`)
    return error.code === 'usage' ? 2 : 1
  }
}

/** Plays the story and stays, until a signal or for `forMs`. */
async function run(forMs: number | undefined): Promise<void> {
  const signal = createEnding(forMs)
  const ended = once(signal, 'abort')
  const mesh = await createMesh(NAMES)
  const screen = openScreen(process.stdout, [
    '● linked   ○ not linked   epmd tells at which port a node listens',
    'Ctrl-C ends it. Until then: kill -9 one of the pids, and watch.',
  ])
  const stage = { mesh, names: NAMES, screen, signal }
  let isTold = false

  async function play(): Promise<void> {
    try {
      const whole = await playStory(stage)
      isTold = true
      await stayLive(stage, whole)
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }

  try {
    await Promise.race([play(), ended])
    if (isTold || signal.reason !== TIME_IS_UP) return
    const gaps = missing(await mesh.look(), NAMES).join(', ') || 'only time'
    throw new RollcallError('not_healed', `[demo] expected a mesh that formed and healed in time, missing: ${gaps}`)
  } finally {
    await mesh.end()
    screen.tell('ended: the function and the nodes are gone')
    screen.close()
  }
}

/** Aborts at a signal, when the time is up, or when nobody reads any more. */
function createEnding(forMs: number | undefined): AbortSignal {
  const ending = new AbortController()
  function note(): void {
    // A second one: somebody does not want to wait.
    if (ending.signal.aborted) process.exit(130)
    ending.abort()
  }
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, note)
  process.stdout.on('error', () => ending.abort())
  if (forMs !== undefined) setTimeout(() => ending.abort(TIME_IS_UP), Math.min(forMs, MAX_TIMER_MS)).unref()
  return ending.signal
}

function readOptions(args: string[]): { help: boolean; forMs: number | undefined } {
  try {
    const { values } = parseArgs({ args, options: { for: { type: 'string' }, help: { type: 'boolean' } } })
    const forMs = values.for === undefined ? undefined : parseDuration(values.for)
    if (values.for !== undefined && forMs === undefined) throw new TypeError(`expected --for 20s, got ${values.for}`)
    return { help: values.help ?? false, forMs }
  } catch (cause) {
    throw new RollcallError('usage', `[demo] ${(cause as Error).message}\n\n${HELP}`, { cause })
  }
}
