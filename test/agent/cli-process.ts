import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const CLI = fileURLToPath(new URL('../../agent/cli.ts', import.meta.url))

const running = new Set<ChildProcess>()

/** What a run of the real command line left behind. */
export interface Ended {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

export interface Running {
  child: ChildProcess
  ended: Promise<Ended>
  /** Resolves as soon as `pattern` has come on stdout or stderr; rejects when the process ends without it. */
  says: (pattern: RegExp) => Promise<RegExpExecArray>
}

/** Starts the command line in `cwd`, with nothing of rollcall in its environment but `env`. */
export function startCli(
  args: readonly string[],
  { cwd, env = {} }: { cwd: string; env?: Record<string, string> },
): Running {
  const child = spawn(process.execPath, [CLI, ...args], {
    cwd,
    env: { PATH: process.env['PATH'] ?? '', HOME: cwd, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  running.add(child)
  child.on('close', () => running.delete(child))
  const text = { stdout: '', stderr: '' }
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code, signal, ...text }))
  })
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream].setEncoding('utf8').on('data', (chunk: string) => (text[stream] += chunk))
  }
  function says(pattern: RegExp): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const search = () => {
        const found = pattern.exec(text.stdout) ?? pattern.exec(text.stderr)
        if (found !== null) resolve(found)
      }
      child.stdout.on('data', search)
      child.stderr.on('data', search)
      search()
      ended.then(() => reject(new Error(`ended without ${pattern}: ${text.stdout}${text.stderr}`)), reject)
    })
  }
  return { child, ended, says }
}

/** Runs the command line to its end. */
export function runCli(...given: Parameters<typeof startCli>): Promise<Ended> {
  return startCli(...given).ended
}

/** A folder of its own for a suite, with these files in it; `remove` is for `after`, and ends what a failed test left running. */
export async function temporaryFolder(
  files: Record<string, string> = {},
): Promise<{ path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'rollcall-cli-'))
  for (const [name, text] of Object.entries(files)) await writeFile(join(path, name), text)
  async function remove(): Promise<void> {
    for (const child of running) child.kill('SIGKILL')
    await rm(path, { recursive: true, force: true })
  }
  return { path, remove }
}
