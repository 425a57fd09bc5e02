import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import manifest from '../../package.json' with { type: 'json' }

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const SOURCES = ['agent', 'core', 'functions', 'build.ts', 'tsconfig.json', 'tsconfig.build.json']
const PUBLISHED = ['package.json', 'README.md', 'LICENSE']
// Left in a checkout by an older build, or beside the sources: none of it is to be published.
const STRAYS = ['dist/core/removed.js', 'dist/agent/chunks/agent-OLD.js', 'test/stray.test.ts', 'rollcall-state.json']
const UNREACHABLE = /npm error code (ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ENOTCACHED)/
const QUICK = [
  '--prefer-offline',
  '--no-audit',
  '--no-fund',
  '--fetch-retry-mintimeout=500',
  '--fetch-retry-maxtimeout=2000',
]
// Above the slowest of them, an install with an empty cache.
const LIMIT_MS = 120_000

const execute = promisify(execFile)

/** The package in a folder that was empty, packed and installed by npm. */
export interface Installed {
  readonly folder: string
  /** Of the tarball, in bytes. */
  readonly size: number
  /** Whether the tests must be skipped: `false`, or one line that says why the dependencies could not be fetched. */
  readonly missing: string | false
  readonly remove: () => Promise<void>
}

export interface RunOptions {
  readonly cwd: string
  /** The folder of the `node` that comes first: by `#!/usr/bin/env node` it runs npm, npx and the command line too. */
  readonly bin: string
}

/** Runs a program to its end. Rejects with all its output when it fails. */
export async function run([program, ...args]: readonly [string, ...string[]], options: RunOptions): Promise<string> {
  const { cwd, bin } = options
  const env = { ...process.env, PATH: `${bin}${delimiter}${process.env['PATH']}` }
  try {
    return (await execute(program, args, { cwd, env, timeout: LIMIT_MS })).stdout
  } catch (cause) {
    const { stdout, stderr } = cause as { stdout: string; stderr: string }
    throw new Error(`expected ${program} ${args.join(' ')} to end with 0, got: ${stdout}${stderr}`, { cause })
  }
}

/**
 * Packs a copy of the sources, so that nothing in the checkout changes, and installs the tarball and the types of Node.
 * `bin` holds the oldest `node` there is: each dependency must accept it.
 */
export async function installPackage(bin: string): Promise<Installed> {
  const top = await mkdtemp(join(tmpdir(), 'rollcall-package-'))
  const remove = () => rm(top, { recursive: true, force: true })
  try {
    const tarball = await pack(top)
    const folder = join(top, 'consumer')
    await mkdir(folder)
    await writeFile(join(folder, 'package.json'), '{ "private": true, "type": "module" }')
    const types = `@types/node@${manifest.devDependencies['@types/node']}`
    const installing = run(['npm', 'install', '--engine-strict', ...QUICK, tarball, types], { cwd: folder, bin })
    const missing = await installing.then(() => false as const, unreachable)
    return { folder, size: (await stat(tarball)).size, missing, remove }
  } catch (error) {
    await remove()
    throw error
  }
}

async function pack(top: string): Promise<string> {
  const checkout = join(top, 'checkout')
  for (const name of [...SOURCES, ...PUBLISHED]) await cp(join(ROOT, name), join(checkout, name), { recursive: true })
  for (const name of STRAYS) {
    await mkdir(dirname(join(checkout, name)), { recursive: true })
    await writeFile(join(checkout, name), '')
  }
  await symlink(join(ROOT, 'node_modules'), join(checkout, 'node_modules'))
  await run(['npm', 'pack', '--pack-destination', top], { cwd: checkout, bin: dirname(process.execPath) })
  return join(top, `rollcall-${manifest.version}.tgz`)
}

function unreachable(error: Error): string {
  const [, code] = UNREACHABLE.exec(error.message) ?? []
  if (code === undefined || process.env.PEERS === 'required') throw error
  return `needs the npm registry, for the dependencies of the package, got ${code}`
}
