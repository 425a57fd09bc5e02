import { execFile } from 'node:child_process'
import { globSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { bundle, type Form, MARK } from './bundle.ts'
import { type Host, hosts } from './hosts.ts'
import type { Outcome } from './node-test.ts'
import { runUnderNode } from './under-node.ts'

// Ten times what the slowest needs beside another one.
const LIMIT_MS = 240_000
const MAX_OUTPUT_BYTES = 16 * 1024 * 1024
// A broken core fails in hundreds of tests: the first few say why.
const SHOWN_FAULTS = 10
const MAX_SHOWN = 2_000

const ROOT = join(import.meta.dirname, '../..')
const FILES = ['test/core/*.test.ts', 'test/runtimes/*.test.ts']

const execute = promisify(execFile)

/** What one runtime came to. */
interface Result {
  readonly name: string
  readonly version: string
  readonly outcomes: readonly Outcome[]
  readonly ms: number
  /** Why it ran no test. */
  readonly fault?: string
}

async function main(): Promise<number> {
  const files = globSync(FILES, { cwd: ROOT }).map((file) => join(ROOT, file))
  const all = hosts()
  const present = all.filter(({ missing }) => missing === false)
  const folder = await mkdtemp(join(tmpdir(), 'rollcall-runtimes-'))
  try {
    const bundles = new Map<Form, string>()
    for (const form of new Set(present.map((host) => host.form))) {
      bundles.set(form, await bundle(form, files.toSorted(), folder))
    }
    const results = await allResults([
      () => runOnNodeTest(files),
      ...present.map((host) => () => runOn(host, bundles.get(host.form) ?? '', folder)),
    ])
    // The first is node:test's own.
    const expected = results[0]?.outcomes.map(({ name }) => name) ?? []
    printTable(results, expected.length)
    for (const { name, missing } of all) if (missing !== false) console.log(`${name} skipped: ${missing}`)
    const faults = results.flatMap((result) => faultsOf(result, expected))
    for (const fault of faults) console.log(`\n${fault}`)
    return faults.length === 0 ? 0 : 1
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** As many at a time as there are processors: each is busy all the while. The results are in the order of the jobs. */
async function allResults(jobs: readonly (() => Promise<Result>)[]): Promise<readonly Result[]> {
  const results: Result[] = []
  const queue = jobs.entries()
  const workers = Array.from({ length: availableParallelism() }, async () => {
    for (const [index, job] of queue) results[index] = await job()
  })
  await Promise.all(workers)
  return results
}

async function runOnNodeTest(files: readonly string[]): Promise<Result> {
  const start = performance.now()
  const outcomes = await runUnderNode(files)
  return { name: 'node:test', version: process.versions.node, outcomes, ms: performance.now() - start }
}

async function runOn({ name, program, run }: Host, file: string, folder: string): Promise<Result> {
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
    if (encoded !== undefined) return { name, version, outcomes: JSON.parse(decodeURIComponent(encoded)), ms }
    return { name, version, outcomes: [], ms, fault: `ended without a word of its tests: ${ends(stderr, stdout)}` }
  } catch (error) {
    const ms = performance.now() - start
    const { killed, stdout = '' } = error as { killed?: boolean; stdout?: string }
    const fault = killed === true ? `did not end within ${LIMIT_MS} ms` : `failed: ${ends(String(error), stdout)}`
    return { name, version, outcomes: [], ms, fault }
  }
}

function ends(...texts: readonly string[]): string {
  return texts.map((text) => text.slice(-MAX_SHOWN).trim()).join('\n')
}

/** What is wrong with a result, in paragraphs. The names must be the same, not only their count: else a test was left out for another. */
function faultsOf({ name, version, outcomes, fault }: Result, expected: readonly string[]): readonly string[] {
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

function printTable(results: readonly Result[], expected: number): void {
  const rows = results.map(({ name, version, outcomes, ms }) => {
    const passed = outcomes.filter(({ error }) => error === undefined).length
    return [name, version, `${passed} of ${expected}`, ms.toFixed(0)]
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
