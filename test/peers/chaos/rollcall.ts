import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Host } from '../namespaces.ts'

export type LogEntry = Readonly<Record<string, unknown>>

/** A process that runs the command line of rollcall on a host. */
export interface Rollcall {
  readonly pid: number
  /** The last lines of its log. */
  log(): string
  /** Ends it as a crash does. */
  kill(): Promise<void>
  /** Asks it to end; gives its exit code. */
  stop(): Promise<number | null>
}

export interface RollcallOptions {
  readonly host: Host
  readonly onLog?: (entry: LogEntry) => void
  /** The line of the log that says that it is up. */
  readonly upAt: string
}

const CLI = fileURLToPath(new URL('../../../agent/cli.ts', import.meta.url))
// Enough for a person to see what a failed test was about.
const KEPT_LINES = 200

/** Starts `rollcall` with these arguments; resolves when it is up. It ends with this process at the latest. */
export async function startRollcall(args: readonly string[], options: RollcallOptions): Promise<Rollcall> {
  const { host, upAt, onLog = () => {} } = options
  const [program = '', ...rest] = [...host.enter, process.execPath, CLI, ...args]
  // No epmd of somebody else's choosing.
  const env = { ...process.env, ERL_EPMD_PORT: undefined, ERL_EPMD_ADDRESS: undefined }
  const child = spawn(program, rest, { stdio: ['ignore', 'ignore', 'pipe'], env })
  // Its last lines come after its end.
  const ended = once(child, 'close')
  const lines: string[] = []
  const up = Promise.withResolvers<void>()
  createInterface(child.stderr).on('line', (line) => {
    lines.push(line)
    if (lines.length > KEPT_LINES) lines.shift()
    const entry = parse(line)
    if (entry === undefined) return
    onLog(entry)
    if (entry['msg'] === upAt) up.resolve()
  })
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  child.once('exit', (code, signal) => {
    process.off('exit', kill)
    up.reject(
      new Error(`rollcall ${args.join(' ')} ended with ${signal ?? code} before it was up:\n${lines.join('\n')}`),
    )
  })
  await up.promise
  return {
    pid: child.pid ?? 0,
    log: () => lines.join('\n'),
    async kill() {
      kill()
      await ended
    },
    async stop() {
      // One that was stopped hears SIGTERM only when it goes on.
      for (const signal of ['SIGTERM', 'SIGCONT'] as const) child.kill(signal)
      await ended
      return child.exitCode
    },
  }
}

/** A crash of Node itself is told to a person, not in JSON; a kill may cut a line short. */
function parse(line: string): LogEntry | undefined {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}
