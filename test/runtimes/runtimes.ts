import { execFile } from 'node:child_process'
import { globSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { bundle, type Form, MARK } from './bundle.ts'
import { type Host, hosts } from './hosts.ts'
import type { Outcome } from './node-test.ts'
import { type FileOutcome, runUnderNode } from './under-node.ts'

// Ten times what the slowest needs beside another one.
const LIMIT_MS = 240_000
const MAX_OUTPUT_BYTES = 16 * 1024 * 1024
// A broken core fails in hundreds of tests: the first few say why.
const SHOWN_FAULTS = 10
const MAX_SHOWN = 2_000

const ROOT = join(import.meta.dirname, '../..')
const CORE = ['test/core/*.test.ts', 'test/runtimes/strict-assert.test.ts']
// Chromium shows a page as soon as its script waits for more than a promise. The core never does; an app that answers does.
const APP = 'test/runtimes/app.test.ts'
const FILES: Record<Form, readonly string[]> = { script: [...CORE, APP], worker: [...CORE, APP], page: CORE }

const execute = promisify(execFile)

/** What one runtime came to. */
interface Result {
  readonly name: string
  readonly version: string
  readonly outcomes: readonly Outcome[]
  readonly ms: number
  /** The tests that it should have run, by name. */
  readonly expected: readonly string[]
  /** Why it ran none. */
  readonly fault?: string
}

async function main(): Promise<number> {
  const all = hosts()
  const present = all.filter(({ missing }) => missing === false)
  const folder = await mkdtemp(join(tmpdir(), 'rollcall-runtimes-'))
  try {
    const results = await runEverywhere(present, folder)
    const faults = results.flatMap(faultsOf)
    printTable(results)
    for (const { name, missing } of all) if (missing !== false) console.log(`${name} skipped: ${missing}`)
    for (const fault of faults) console.log(`\n${fault}`)
    return faults.length === 0 ? 0 : 1
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** As many at a time as there are processors: each is busy all the while. */
async function runEverywhere(present: readonly Host[], folder: string): Promise<readonly Result[]> {
  const bundles = new Map<Form, string>()
  for (const { form } of present) if (!bundles.has(form)) bundles.set(form, await bundle(form, filesOf(form), folder))
  let underNode: { outcomes: readonly FileOutcome[]; ms: number } = { outcomes: [], ms: 0 }
  const ran: { host: Host; run: Run }[] = []
  const jobs = [
    async () => {
      const start = performance.now()
      underNode = { outcomes: await runUnderNode(filesOf('script')), ms: performance.now() - start }
    },
    ...present.map((host, index) => async () => {
      ran[index] = { host, run: await runOn(host, bundles.get(host.form) ?? '', folder) }
    }),
  ].values()
  await Promise.all(
    Array.from({ length: availableParallelism() }, async () => {
      for (const job of jobs) await job()
    }),
  )
  const namesFor = (form: Form) => {
    const files = filesOf(form)
    return underNode.outcomes.filter(({ file }) => file !== undefined && files.includes(file)).map(({ name }) => name)
  }
  return [
    { name: 'node:test', version: process.versions.node, ...underNode, expected: namesFor('script') },
    ...ran.map(({ host: { name, form }, run }) => ({ name, ...run, expected: namesFor(form) })),
  ]
}

function filesOf(form: Form): readonly string[] {
  return globSync([...FILES[form]], { cwd: ROOT })
    .map((file) => join(ROOT, file))
    .toSorted()
}

type Run = Pick<Result, 'version' | 'outcomes' | 'ms' | 'fault'>

async function runOn({ program, run }: Host, file: string, folder: string): Promise<Run> {
  // A home of its own: what a runtime caches or asks the home for is of no other run.
  const env = { PATH: process.env['PATH'], HOME: folder, DENO_NO_UPDATE_CHECK: '1', NO_COLOR: '1' }
  const options = { env, cwd: folder, timeout: LIMIT_MS, killSignal: 'SIGKILL', maxBuffer: MAX_OUTPUT_BYTES } as const
  let version = '?'
  let start = performance.now()
  try {
    version = /\d+[\d.-]*\d/.exec((await execute(program, ['--version'], options)).stdout)?.[0] ?? version
    start = performance.now()
    const { stdout, stderr } = await execute(program, run(file, folder), options)
    const ms = performance.now() - start
    const [, encoded] = new RegExp(`${MARK}([^\\s<]+)`).exec(stdout) ?? []
    if (encoded !== undefined) return { version, outcomes: JSON.parse(decodeURIComponent(encoded)), ms }
    return { version, outcomes: [], ms, fault: `ended without a word of its tests: ${ends(stderr, stdout)}` }
  } catch (error) {
    const ms = performance.now() - start
    const { killed, stdout = '' } = error as { killed?: boolean; stdout?: string }
    const fault = killed === true ? `did not end within ${LIMIT_MS} ms` : `failed: ${ends(String(error), stdout)}`
    return { version, outcomes: [], ms, fault }
  }
}

function ends(...texts: readonly string[]): string {
  return texts.map((text) => text.slice(-MAX_SHOWN).trim()).join('\n')
}

/** What is wrong with a result, in paragraphs. The names must be the same, not only their count: else a test was left out for another. */
function faultsOf({ name, version, outcomes, expected, fault }: Result): readonly string[] {
  const who = `${name} ${version}`
  if (fault !== undefined) return [`${who} ${fault}`]
  if (expected.length === 0) return [`${who}: node:test ran no test to compare with`]
  const failed = outcomes.flatMap(({ name, error }) =>
    error === undefined ? [] : [`${who} failed: ${name}\n${error}`],
  )
  const ran = outcomes.map((outcome) => outcome.name)
  const strays = [
    ...without(expected, ran).map((test) => `left out: ${test}`),
    ...without(ran, expected).map((test) => `node:test has no such test: ${test}`),
  ]
  const faults = [...failed, ...strays.map((stray) => `${who} ${stray}`)]
  const more = faults.length - SHOWN_FAULTS
  return more > 0 ? [...faults.slice(0, SHOWN_FAULTS), `${who}: ${more} more`] : faults
}

/** The names less those others, one for one. */
function without(names: readonly string[], others: readonly string[]): readonly string[] {
  const left = [...others]
  return names.filter((name) => {
    const index = left.indexOf(name)
    if (index !== -1) left.splice(index, 1)
    return index === -1
  })
}

function printTable(results: readonly Result[]): void {
  const rows = results.map(({ name, version, outcomes, expected, ms }) => {
    const passed = outcomes.filter(({ error }) => error === undefined).length
    return [name, version, `${passed} of ${expected.length}`, ms.toFixed(0)]
  })
  const table = [['runtime', 'version', 'tests passed', 'ms'], ...rows]
  const widths = [0, 1, 2, 3].map((column) => Math.max(...table.map((row) => row[column]?.length ?? 0)))
  for (const row of table)
    console.log(
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
}

process.exitCode = await main()
