import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'

/** A program under measurement. */
export interface Child {
  readonly pid: number
  /** Ends it by its pid, and waits for the end. */
  end(): Promise<void>
}

/** Starts this same Node with `args`, as `startProgram` does. */
export function startNode(args: readonly string[], where: { root: string }): Child & { process: ChildProcess } {
  return startProgram(process.execPath, args, where)
}

/** Starts a program with `args`; `root` is its folder. What it says on stderr is not shown. */
export function startProgram(
  program: string,
  args: readonly string[],
  { root }: { root: string },
): Child & { process: ChildProcess } {
  const child = spawn(program, args, { cwd: root, stdio: ['ignore', 'pipe', 'ignore'] })
  return {
    process: child,
    pid: child.pid ?? 0,
    async end() {
      // Without a pid it never began, and no end will be told.
      if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
      const exited = once(child, 'exit')
      child.kill('SIGKILL')
      await exited
    },
  }
}

/** The first match of `pattern` in a line of the child's stdout. Rejects when the child ends before. */
export function lineOf({ process: child }: { process: ChildProcess }, pattern: RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    if (child.stdout === null) return reject(new Error('expected a child with a stdout'))
    createInterface(child.stdout).on('line', (line) => {
      const [match] = pattern.exec(line) ?? []
      if (match !== undefined) resolve(match)
    })
    child.once('error', reject)
    child.once('exit', (code) => reject(new Error(`${child.spawnargs.join(' ')} ended with ${code}`)))
  })
}
