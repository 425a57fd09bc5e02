import { type ChildProcess, spawn } from 'node:child_process'
import { RollcallError } from '../core/error.ts'

export interface ProgramOptions {
  /** The part that runs it, for messages. */
  part: string
  /** Ends it; its error is then the signal's reason. */
  signal: AbortSignal
  timeoutMs: number
}

// A list of 10,000 members as JSON is below 2 MB; more is a program that prints something else.
const MAX_OUTPUT_BYTES = 8 * 1024 * 1024
const MAX_STDERR_BYTES = 4 * 1024
// Between SIGTERM and SIGKILL.
const KILL_AFTER_MS = 1_000

/**
 * Runs a program, never through a shell, and gives what it printed. Throws `program_not_found`, `program_failed` (any end but
 * exit 0), `program_output` (too much of it), `timeout`, or the signal's reason; then it is ended, with what it started.
 */
export async function runProgram(
  [file = '', ...args]: readonly string[],
  { part, signal, timeoutMs }: ProgramOptions,
): Promise<string> {
  signal.throwIfAborted()
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  // A process group of its own, so that what the program started ends with it.
  const child: ChildProcess = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true })
  child.once('error', (cause: NodeJS.ErrnoException) => {
    const missing = cause.code === 'ENOENT' || cause.code === 'EACCES'
    const advice = missing
      ? 'give its full path, and check that this user may run it'
      : 'this machine has no room for it'
    const message = `[${part}] expected to run ${file}, got ${cause.code}: ${advice}`
    reject(new RollcallError(missing ? 'program_not_found' : 'program_failed', message, { cause }))
  })
  const output: Buffer[] = []
  let bytes = 0
  let complaint = ''
  let reason: unknown
  let force: NodeJS.Timeout | undefined

  function end(why: unknown): void {
    if (reason !== undefined) return
    reason = why
    kill(child, 'SIGTERM')
    force = setTimeout(() => kill(child, 'SIGKILL'), KILL_AFTER_MS)
    // A process that left the group may hold the pipes for ever.
    child.stdout?.destroy()
    child.stderr?.destroy()
  }

  const abort = () => end(signal.reason)
  const overdue = setTimeout(() => {
    end(new RollcallError('timeout', `[${part}] expected ${file} to end within ${timeoutMs} ms, got no end`))
  }, timeoutMs)
  signal.addEventListener('abort', abort, { once: true })

  // A process that could not even be made (no file descriptors left) has none of these.
  child.stdout?.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes <= MAX_OUTPUT_BYTES) output.push(chunk)
    else
      end(
        new RollcallError(
          'program_output',
          `[${part}] expected at most ${MAX_OUTPUT_BYTES} bytes of ${file}, got more`,
        ),
      )
  })
  child.stderr?.on('data', (chunk: Buffer) => {
    if (complaint.length < MAX_STDERR_BYTES) complaint += chunk.toString().slice(0, MAX_STDERR_BYTES)
  })
  child.once('close', (code, killedBy) => {
    if (reason !== undefined) return reject(reason)
    if (code === 0) return resolve(Buffer.concat(output).toString())
    const said = complaint.trim().split('\n', 1)[0]?.slice(0, 200)
    const message = `[${part}] expected ${file} to exit with 0, got ${killedBy ?? code}${said ? `: ${said}` : ''}`
    reject(new RollcallError('program_failed', message))
  })
  try {
    return await promise
  } finally {
    clearTimeout(overdue)
    clearTimeout(force)
    signal.removeEventListener('abort', abort)
    // What it left behind in its group: nobody would ever end that.
    if (reason !== undefined) kill(child, 'SIGKILL')
  }
}

function kill({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, signal)
  } catch (error) {
    // It ended a moment ago.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
