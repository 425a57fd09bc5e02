import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

/** A process that runs the command line. */
export interface Program {
  readonly pid: number | undefined
  readonly isRunning: boolean
  /** How it has ended, for a person; where it did so by itself, with the last that it said. */
  readonly end: string
  /** Ends it as a crash does. */
  kill(): Promise<void>
  /** Asks it to end, and kills it where it does not heed that. */
  stop(): Promise<void>
}

export interface ProgramOptions {
  /** Called with each line of its log. */
  readonly onLog: (entry: Record<string, unknown>) => void
  readonly onExit?: () => void
}

const CLI = fileURLToPath(new URL('../agent/cli.ts', import.meta.url))
// A member that ends takes its name out of epmd first, in milliseconds.
const STOP_TIMEOUT_MS = 5_000

/** Starts `rollcall` with these arguments; it ends with this process at the latest. */
export function startProgram(args: readonly string[], { onLog, onExit = () => {} }: ProgramOptions): Program {
  const child = spawn(process.execPath, [CLI, ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
    // A group of its own: the Ctrl-C of the terminal is for us, and we end the others in order.
    detached: true,
    // A member that serves epmd binds every interface else, as epmd does: the demo is nobody else's business.
    env: { ...process.env, ERL_EPMD_ADDRESS: '127.0.0.1' },
  })
  const ended = once(child, 'exit')
  let lastWords = 'it said nothing'
  createInterface({ input: child.stderr }).on('line', (line) => {
    const entry = parseLog(line)
    lastWords = typeof entry?.['msg'] === 'string' ? entry['msg'] : line
    if (entry !== undefined) onLog(entry)
  })
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  child.once('exit', () => {
    process.off('exit', kill)
    onExit()
  })

  return {
    pid: child.pid,
    get isRunning() {
      return child.exitCode === null && child.signalCode === null
    },
    get end() {
      return child.signalCode ?? `exit code ${child.exitCode}, ${lastWords}`
    },
    async kill() {
      kill()
      await ended
    },
    async stop() {
      if (!this.isRunning) return
      child.kill('SIGTERM')
      await Promise.race([ended, setTimeout(STOP_TIMEOUT_MS, undefined, { ref: false }).then(kill)])
      await ended
    },
  }
}

/** A mistake in the config or a bug is told to a person, not in JSON; and a kill may cut a line short. */
function parseLog(line: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}
