import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { firstFailure, type Killer, killersOf } from './killers.ts'
import { applyFault, type Mutant } from './mutant.ts'
import { mutants } from './mutants.ts'

const USAGE = `usage: npm run test:mutants -- [--only 7,9] [--tests | --sim] [--jobs N]

Makes each fault of test/mutants/mutants.ts in a copy of the core, runs the tests of the core there, then the simulator, until the
first test that fails, and prints which one it was. --tests and --sim let only the one or the other try; --jobs is as many at once as
there are cores.
Ends with 1 when a fault is seen by nobody, with 2 when the tests fail without any or a fault has no place in the code.
`
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const COPIED = ['core', 'functions', 'agent', 'test/core', 'test/sim', 'test/mutants', 'package.json']

interface Numbered {
  readonly number: number
  readonly mutant: Mutant
}

interface Result extends Numbered {
  /** The first test that failed, and whose it is; undefined: the mutant survived. */
  readonly killedBy: string | undefined
  readonly seconds: number
}

interface Given {
  readonly chosen: readonly Numbered[]
  readonly who: readonly Killer['name'][]
  readonly jobs: number
}

function readArguments(): Given | undefined {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', default: '' },
      tests: { type: 'boolean', default: false },
      sim: { type: 'boolean', default: false },
      jobs: { type: 'string', default: String(availableParallelism()) },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return undefined
  const all = mutants.map((mutant, index) => ({ number: index + 1, mutant }))
  const only = new Set(values.only.split(',').filter((text) => text !== ''))
  const isEach = only.size === 0
  const chosen = all.filter(({ number }) => isEach || only.delete(String(number)))
  if (only.size > 0) {
    throw new Error(`[mutants] expected --only with numbers from 1 to ${all.length}, got ${[...only].join()}`)
  }
  const jobs = Number(values.jobs)
  if (!Number.isInteger(jobs) || jobs < 1) {
    throw new Error(`[mutants] expected --jobs with a number from 1 on, got ${values.jobs}`)
  }
  const { tests, sim } = values
  return {
    chosen,
    who: [...(sim && !tests ? [] : ['tests' as const]), ...(tests && !sim ? [] : ['simulator' as const])],
    jobs,
  }
}

async function makeCopy(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'rollcall-mutants-'))
  const filter = (source: string) => basename(source) !== 'node_modules'
  for (const part of COPIED) await cp(join(ROOT, part), join(folder, part), { recursive: true, filter })
  await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  return folder
}

/** Who sees what is in the folder now. */
async function hunt(folder: string, killers: readonly Killer[], signal: AbortSignal): Promise<string | undefined> {
  for (const killer of killers) {
    const name = await firstFailure(killer, { folder, signal })
    if (name !== undefined) return `${killer.name}: ${name}`
  }
  return undefined
}

async function judge(
  numbered: Numbered,
  folder: string,
  hunters: readonly Killer[],
  signal: AbortSignal,
): Promise<Result> {
  const { mutant } = numbered
  const path = join(folder, mutant.file)
  const sound = await readFile(path, 'utf8')
  const begun = performance.now()
  await writeFile(path, applyFault(sound, mutant))
  try {
    const killedBy = await hunt(folder, hunters, signal)
    return { ...numbered, killedBy, seconds: (performance.now() - begun) / 1_000 }
  } finally {
    await writeFile(path, sound)
  }
}

function rowOf({ number, mutant, killedBy, seconds }: Result): string {
  const cells = [number, mutant.file, mutant.wrong, killedBy ?? '**survives**', seconds.toFixed(1)]
  return `| ${cells.join(' | ')} |`
}

async function main(): Promise<void> {
  const given = readArguments()
  if (given === undefined) return void process.stdout.write(USAGE)
  const { chosen, who, jobs } = given
  // Before anything is run: a list that does not fit the code is told at once.
  for (const { mutant } of chosen) applyFault(await readFile(join(ROOT, mutant.file), 'utf8'), mutant)

  const interrupted = new AbortController()
  const { signal } = interrupted
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => interrupted.abort())
  const folders: string[] = []
  const begun = performance.now()
  const results: Result[] = []
  const workers: Promise<void>[] = []
  try {
    // One copy for each that works, made before any fault: whoever edits the tree meanwhile changes nothing here.
    for (let job = 0; job < Math.min(jobs, chosen.length); job++) folders.push(await makeCopy())
    const [first = ''] = folders
    const killers = killersOf(first).filter(({ name }) => who.includes(name))
    process.stderr.write('without a fault: ')
    const broken = await hunt(first, killers, signal)
    process.stderr.write(`${broken ?? 'all pass'}\n`)
    if (broken !== undefined) throw new Error(`[mutants] expected tests that pass without a fault, got ${broken}`)

    const waiting = [...chosen]
    async function work(folder: string): Promise<void> {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        const result = await judge(next, folder, killers, signal)
        results.push(result)
        process.stderr.write(`${results.length}/${chosen.length} ${rowOf(result)}\n`)
      }
    }
    workers.push(...folders.map(work))
    await Promise.all(workers)
  } catch (error) {
    if (!signal.aborted) throw error
    process.stderr.write('interrupted\n')
    process.exitCode = 130
  } finally {
    interrupted.abort()
    await Promise.allSettled(workers)
    for (const folder of folders) await rm(folder, { recursive: true, force: true })
  }
  results.sort((a, b) => a.number - b.number)
  const survivors = results.filter(({ killedBy }) => killedBy === undefined)
  const rows = ['| | file | fault | killed by | s |', '|--:|---|---|---|--:|', ...results.map(rowOf)]
  console.log(rows.join('\n'))
  const seconds = Math.round((performance.now() - begun) / 1_000)
  console.log(
    `\n${results.length} faults, ${results.length - survivors.length} killed, ${survivors.length} survive (${seconds} s)`,
  )
  if (survivors.length > 0) process.exitCode ||= 1
}

try {
  await main()
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 2
}
