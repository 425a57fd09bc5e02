import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import manifest from '../../package.json' with { type: 'json' }
import { CONSUMER } from './consumer.ts'
import { installPackage, run } from './installed.ts'
import { promisedNodes } from './nodes.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const TSC = join(ROOT, 'node_modules/.bin/tsc')
const UP = ['app@10.0.0.1', 'app@10.0.0.2'].map((node) => ({ node, status: 'up' }))
// Half above what it was when this was written: a library that came in by mistake is more.
const MAX_BYTES = { packed: 1_040_000, unpacked: 3_600_000 }

const nodes = promisedNodes()
const [oldest] = nodes
const { bin } = nodes.find(({ missing }) => missing === false) ?? oldest
const { folder, size, missing, remove } = await installPackage(bin)
const installed = join(folder, 'node_modules/rollcall')
after(remove)

/** The files of the installed package, by their paths in it. */
async function filesOf(): Promise<string[]> {
  const entries = await readdir(installed, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile())
  return files.map(({ parentPath, name }) => join(parentPath, name).slice(installed.length + 1))
}

/** What a file of the package imports, lazily or not. In minified code other strings look like it too. */
async function importsOf(file: string): Promise<string[]> {
  const code = await readFile(join(installed, file), 'utf8')
  return [...code.matchAll(/\b(?:from|import\s*\(?)\s*["']([\w@./:-]+)["']/g)].map(([, path = '']) => path)
}

/** `file`, and all that it reaches in the package. A declaration's import of `./a.ts` is one of `a.d.ts`. */
async function reached(file: string, seen = new Set<string>()): Promise<Set<string>> {
  if (seen.has(file)) return seen
  seen.add(file)
  const paths = (await importsOf(file)).filter((path) => path.startsWith('.'))
  for (const path of paths) {
    await reached(join(file, '..', file.endsWith('.d.ts') ? path.replace(/\.ts$/, '.d.ts') : path), seen)
  }
  return seen
}

/** A module's code and its declarations come together, also where only one of them is reached. */
function moduleOf(file: string): string {
  return file.replace(/(\.d)?\.[jt]s$/, '')
}

describe('the packed package', { skip: missing }, () => {
  before(async () => {
    for (const [name, text] of Object.entries(CONSUMER)) await writeFile(join(folder, name), text)
  })

  const entries = Object.values(manifest.exports).flatMap((targets) => Object.values(targets))
  const start = [...entries, manifest.bin.rollcall].map((path) => join(path))

  it('holds what its entries and its command need, and nothing else', async () => {
    const reachable = new Set<string>()
    for (const file of start) await reached(file, reachable)
    const expected = new Set([...reachable, 'LICENSE', 'README.md', 'package.json'].map(moduleOf))
    assert.deepEqual([...new Set((await filesOf()).map(moduleOf))].toSorted(), [...expected].toSorted())
  })

  it('imports nothing but Node and what it depends on', async () => {
    // The command is a bundle: it runs with nothing beside it.
    const modules = (await filesOf()).filter(
      (file) => /\.[jt]s$/.test(file) && !/agent\/(cli|chunks\/.*)\.js$/.test(file),
    )
    const imported = (await Promise.all(modules.map(importsOf))).flat()
    const others = imported.filter((path) => !path.startsWith('.') && !path.startsWith('node:'))
    const names = new Set(others.map((path) => /^(@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? path))
    assert.ok(names.has('zod'))
    const { dependencies, peerDependencies } = manifest
    assert.deepEqual(
      [...names].filter((name) => !Object.hasOwn({ ...dependencies, ...peerDependencies }, name)),
      [],
    )
  })

  it('brings no client of AWS: who builds a host or an agent of their own that asks AWS installs it', async () => {
    const { peerDependencies, peerDependenciesMeta } = manifest
    for (const name of Object.keys(peerDependencies)) {
      assert.deepEqual(Object.entries(peerDependenciesMeta).find(([each]) => each === name)?.[1], { optional: true })
      await assert.rejects(stat(join(folder, 'node_modules', name)), { code: 'ENOENT' })
    }
  })

  it('stays small', async () => {
    const sizes = await Promise.all((await filesOf()).map(async (file) => (await stat(join(installed, file))).size))
    const unpacked = sizes.reduce((sum, bytes) => sum + bytes, 0)
    assert.ok(size < MAX_BYTES.packed, `${size} bytes packed`)
    assert.ok(unpacked < MAX_BYTES.unpacked, `${unpacked} bytes unpacked`)
  })

  it('names its types first in each export, as the first condition that holds counts', () => {
    for (const targets of Object.values(manifest.exports)) assert.deepEqual(Object.keys(targets), ['types', 'default'])
  })

  it('says in engines what the oldest Node is that it was seen to run on', () => {
    assert.equal(manifest.engines.node, `>=${oldest.version.replace(/\.0$/, '')}`)
  })

  describe('has types that a strict program can check to the last declaration', () => {
    const strict = ['--noEmit', '--strict', '--exactOptionalPropertyTypes', '--noUncheckedIndexedAccess']
    const whole = [...strict, '--skipLibCheck', 'false', '--target', 'es2024']
    const programs = [
      { what: 'rollcall/core, with nothing but the language', lib: 'es2024', types: '', files: ['core.ts'] },
      { what: 'rollcall/functions, with what browsers have', lib: 'es2024,dom', types: '', files: ['functions.ts'] },
      {
        what: 'all entries, with the types of Node',
        lib: 'es2024',
        types: 'node',
        files: Object.keys(CONSUMER).filter((name) => name.endsWith('.ts')),
      },
    ]
    for (const { what, lib, types, files } of programs) {
      for (const resolution of ['nodenext', 'node16', 'bundler']) {
        it(`${what}: ${resolution}`, async () => {
          const module = resolution === 'bundler' ? 'esnext' : resolution
          const modules = ['--module', module, '--moduleResolution', resolution]
          const args = [...whole, ...modules, '--lib', lib, '--types', types, ...files]
          assert.equal(await run([TSC, ...args], { cwd: folder, bin }), '')
        })
      }
    }
  })

  for (const { version, bin, missing } of nodes) {
    describe(`on Node ${version}`, { skip: missing }, () => {
      // Without --no it would fetch what it does not find.
      const npx = (...args: string[]) => run(['npx', '--no', ...args], { cwd: folder, bin })

      it('is accepted by npm, with every dependency', async () => {
        await run(['npm', 'install', '--dry-run', '--offline', '--engine-strict'], { cwd: folder, bin })
      })

      it('has a command that npx finds, and that says how it is used', async () => {
        const [runs, usage] = (await npx('-c', 'node --version && rollcall --help')).split('\n')
        assert.equal(runs, `v${version}`)
        assert.match(usage ?? '', /^Usage: rollcall /)
      })

      it('looks', async () => {
        const { topology, observations } = JSON.parse(await npx('rollcall', 'look', '--json'))
        assert.equal(topology, 'web')
        const [{ at: _at, ...observation }, ...others] = observations
        assert.deepEqual(observation, { source: 'static', outcome: 'complete', members: UP })
        assert.deepEqual(others, [])
      })

      it('serves', async () => {
        const args = [join(folder, 'node_modules/.bin/rollcall'), 'serve', '--port', '0']
        const child = spawn(join(bin, 'node'), args, { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] })
        const closed = once(child, 'close')
        try {
          const [line] = await Promise.race([once(createInterface({ input: child.stdout }), 'line'), closed])
          const [url] = /http:\/\/127\.0\.0\.1:\d+/.exec(String(line)) ?? []
          assert.ok(url, `expected an address, got ${line}`)
          const response = await fetch(`${url}/healthz`)
          assert.deepEqual([response.status, await response.json()], [200, { status: 'ok' }])
        } finally {
          child.kill('SIGTERM')
        }
        assert.deepEqual(await closed, [0, null])
      })

      /** Runs one of the programs, whose types Node strips, and gives its answer. */
      async function answerOf(program: string): Promise<unknown> {
        const script = `import('./${program}').then(({ answer }) => console.log(JSON.stringify(answer)))`
        return JSON.parse(await run(['node', '-e', script], { cwd: folder, bin }))
      }

      it('decides, through rollcall/core', async () => {
        const connect = [{ node: 'app@10.0.0.2', attempt: 1, reason: 'new' }]
        assert.deepEqual(await answerOf('core.ts'), { connect, intervalMs: 5_000 })
      })

      it('answers, through rollcall/functions', async () => {
        assert.deepEqual(await answerOf('functions.ts'), { status: 200, members: UP.slice(1) })
      })

      it('plans and dials over a distribution of one’s own, through rollcall/agent, and ends', async () => {
        assert.deepEqual(await answerOf('agent.ts'), { connected: ['app@10.0.0.2'], errors: [], formed: true })
      })

      it('is a member of a mesh, which an agent makes, through rollcall/agent', async () => {
        const mesh = { connected: ['b@127.0.0.1'], errors: [], back: ['a@127.0.0.1'], sum: 3 }
        assert.deepEqual(await answerOf('member.ts'), mesh)
      })
    })
  }
})

describe('the lock files', () => {
  for (const file of ['package-lock.json', 'test/peers/package-lock.json']) {
    it(`${file} names no registry: each takes its own`, async () => {
      const { packages } = JSON.parse(await readFile(join(ROOT, file), 'utf8'))
      const addresses = Object.values<{ resolved?: string }>(packages).flatMap(({ resolved }) => resolved ?? [])
      assert.deepEqual(addresses, [])
    })
  }
})
