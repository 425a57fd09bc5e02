import { spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'

/** Tests that are run together, in one process, until the first that fails. */
export interface Killer {
  readonly name: 'tests' | 'simulator'
  /** From the root of the copy. */
  readonly files: readonly string[]
}

// A fault may make a loop endless. The longest killer takes half a minute on a machine that has nothing else to do.
const TIMEOUT_MS = 300_000

/** Who tries, in this order: the quick first, so that most mutants are seen within a second. */
export function killersOf(root: string): Killer[] {
  const properties = 'test/core/properties.test.ts'
  const quick = readdirSync(join(root, 'test/core'))
    .filter((file) => file.endsWith('.test.ts'))
    .map((file) => `test/core/${file}`)
    .filter((file) => file !== properties)
  return [
    { name: 'tests', files: quick },
    { name: 'tests', files: [properties] },
    { name: 'simulator', files: ['test/mutants/seeds.ts'] },
    { name: 'simulator', files: ['test/sim/failures.test.ts', 'test/sim/limits.test.ts'] },
  ]
}

/** The name of the first test that fails in the copy at `folder`, or undefined where all pass. Rejects when it could not be found out. */
export async function firstFailure(
  { files }: Killer,
  { folder, signal }: { folder: string; signal: AbortSignal },
): Promise<string | undefined> {
  const flags = ['--import=./test/mutants/fail-fast.ts', '--test', '--test-isolation=none']
  const child = spawn(process.execPath, [...flags, '--test-reporter=./test/mutants/first-failure.ts', ...files], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    signal,
    killSignal: 'SIGKILL',
  })
  const late = AbortSignal.timeout(TIMEOUT_MS)
  const kill = () => child.kill('SIGKILL')
  late.addEventListener('abort', kill)
  const { promise: ended, resolve, reject } = Promise.withResolvers<number | null>()
  child.once('error', reject).once('exit', resolve)
  try {
    const [code, name, complaint] = await Promise.all([ended, text(child.stdout), text(child.stderr)])
    if (late.aborted) return `no end within ${TIMEOUT_MS / 1_000} s`
    if (code === 0) return undefined
    if (name !== '' && !name.endsWith('.ts')) return name
    throw new Error(`[mutants] expected a test that fails or none, got exit code ${code}: ${name} ${complaint}`)
  } finally {
    late.removeEventListener('abort', kill)
  }
}
