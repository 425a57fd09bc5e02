import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test, type TestContext } from 'node:test'
import { pathToFileURL } from 'node:url'
import { parse } from 'yaml'
import { binary, textOf } from '../agent/beam/etf.ts'
import { startMember } from '../agent/beam/member.ts'
import { configJsonSchema } from '../agent/commands/schema.ts'
import { openSource, strategies } from '../agent/strategies/index.ts'
import { parseConfig } from '../core/config.ts'
import type { Plan } from '../core/plan.ts'
import { createClient } from '../functions/client.ts'
import { serve } from '../functions/node.ts'
import { runCli } from './agent/cli-process.ts'
import { serveLoopback } from './contract/loopback.ts'
import { freePort } from './peers/erlang.ts'
import { missingPrograms } from './peers/programs.ts'

const ROOT = new URL('..', import.meta.url)
// What the examples take from the environment.
const env = { RELEASE_COOKIE: 'a', COOKIE: 'b', ROLLCALL_TOKEN: 'c', GOSSIP_SECRET: 'd' }

/** The fenced blocks of a language in a document, in order. */
function blocks(text: string, language: string): string[] {
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms'))].map(([, body = '']) => body)
}

/** The JSON Schema of the options of a kind of source, wherever it stands in that of the config. */
function schemaOf(schema: unknown, kind: string): { properties?: object } | undefined {
  if (typeof schema !== 'object' || schema === null) return undefined
  const { properties } = schema as { properties?: Record<string, object> }
  if (properties?.static !== undefined) return properties[kind]
  return Object.values(schema)
    .map((inside) => schemaOf(inside, kind))
    .find((found) => found !== undefined)
}

describe('the documents', () => {
  test('every config in docs/javascript.md is one', async () => {
    const examples = blocks(await readFile(new URL('docs/javascript.md', ROOT), 'utf8'), 'yaml')
    assert.equal(examples.length, 1)
    for (const text of examples) parseConfig(parse(text), { file: 'docs/javascript.md', env })
  })

  test('every config in the README is one, and names the sources it seems to', async () => {
    const examples = blocks(await readFile(new URL('README.md', ROOT), 'utf8'), 'yaml')
    const kinds = examples.map((text) => {
      const config = parseConfig(parse(text), { file: 'README.md', env })
      return Object.values(config.topologies).flatMap(({ sources }) => sources.map(({ kind }) => kind))
    })
    // One of them has one of each to paste.
    const [pasted = []] = kinds.splice(
      kinds.findIndex((each) => each.length > 1),
      1,
    )
    assert.deepEqual(pasted.toSorted(), [...Object.keys(strategies), './my-source.ts'].toSorted())
    assert.deepEqual(kinds, [['dns'], ['static'], ['function'], ['dns'], ['dns'], ['registry'], ['function']])
  })

  test('the table of sources in the README has every source with every option', async () => {
    const readme = await readFile(new URL('README.md', ROOT), 'utf8')
    const rows = new Map(
      [...readme.matchAll(/^\| `([\w./]+)` \|(.*)\|.*\|$/gm)].map(([, kind = '', row = '']) => [kind, row]),
    )
    const text = JSON.stringify(configJsonSchema())
    for (const kind of [...Object.keys(strategies), 'none', './file.ts']) assert.ok(rows.has(kind), kind)
    for (const kind of Object.keys(strategies)) {
      const { properties = {} } = schemaOf(JSON.parse(text), kind) ?? {}
      const options = Object.keys(properties).filter((option) => option !== 'name')
      assert.ok(options.length > 0, kind)
      const missing = options.filter((option) => !rows.get(kind)?.includes(`\`${option}\``))
      assert.deepEqual(missing, [], kind)
    }
  })

  test('the source of one’s own in the README lists who is in its inventory, and refuses what it does not know', async (t) => {
    const examples = blocks(await readFile(new URL('README.md', ROOT), 'utf8'), 'ts')
    const example = examples.find((text) => text.startsWith('// my-source.ts')) ?? assert.fail('expected the example')
    const folder = await mkdtemp(join(import.meta.dirname, 'example-'))
    t.after(() => rm(folder, { recursive: true }))
    await writeFile(join(folder, 'my-source.ts'), example)
    let status = 200
    const { url } = await serveLoopback(t, (_request, response) => {
      response.writeHead(status).end(JSON.stringify(['10.0.0.5', '10.0.0.6']))
    })
    const open = async (options: object) => {
      const raw = { topologies: { web: { sources: [{ './my-source.ts': options }] } } }
      const { web } = parseConfig(raw, { file: join(folder, 'rollcall.yaml'), env: {} }).topologies
      const [source = assert.fail('expected a source')] = web?.sources ?? []
      const log = { debug() {}, info() {}, warn() {}, error() {} }
      return await openSource(source, { topology: 'web', intervalMs: 5_000, log })
    }
    const { signal } = new AbortController()
    const { look } = await open({ url })
    const { outcome, members } = await look(signal)
    assert.equal(outcome, 'complete')
    assert.deepEqual(
      members?.map(({ node }) => node),
      ['app@10.0.0.5', 'app@10.0.0.6'],
    )
    status = 500
    const failed = await look(signal)
    assert.equal(failed.outcome === 'failed' && failed.error.code, 'inventory_down')
    await assert.rejects(open({}), { code: 'config', message: /my-source\.ts"\]: .*expected url/ })
  })

  test('the sample rollcall.yaml is a config', async () => {
    const text = await readFile(new URL('rollcall.yaml', ROOT), 'utf8')
    assert.deepEqual(Object.keys(parseConfig(parse(text), { file: 'rollcall.yaml', env }).topologies), ['web'])
  })

  test('the example of the core alone runs, and plans', async () => {
    const examples = blocks(await readFile(new URL('README.md', ROOT), 'utf8'), 'ts')
    const example = examples.find((text) => text.includes("'rollcall/core'")) ?? ''
    const folder = await mkdtemp(join(import.meta.dirname, 'example-'))
    try {
      const file = join(folder, 'example.ts')
      await writeFile(file, `${example.replace("'rollcall/core'", "'../../core/index.ts'")}\nexport { decide }\n`)
      const { decide } = (await import(pathToFileURL(file).href)) as { decide: (...given: unknown[]) => Plan }
      const made = decide(1_000, ['app@10.0.0.1', 'app@10.0.0.2'], [])
      assert.deepEqual(made.connect, [{ node: 'app@10.0.0.2', attempt: 1, reason: 'new' }])
      assert.deepEqual(decide(2_000, [], ['app@10.0.0.2']).disconnect, [])
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  /** A function with a registry in which another node is, and the examples of the README that call it. */
  async function serveRegistry(t: TestContext) {
    const raw = { topologies: { web: { interval: '1s', sources: [{ registry: { ttl: '3m' } }] } } }
    const config = parseConfig(raw, { file: 'README.md', env: {} })
    const log = { debug() {}, info() {}, warn() {}, error() {} }
    const { url, close } = await serve({ config, log, port: 0 })
    t.after(close)
    const client = createClient({ url, topology: 'web' })
    await client.register({ node: 'app@10.0.0.2', id: 'other' })
    const folder = await mkdtemp(join(import.meta.dirname, 'example-'))
    t.after(() => rm(folder, { recursive: true }))
    return { url, client, folder, readme: await readFile(new URL('README.md', ROOT), 'utf8') }
  }

  test('the example of the client runs, and leaves', async (t) => {
    const { url, client, folder, readme } = await serveRegistry(t)
    const example = blocks(readme, 'ts').find((text) => text.includes('createClient')) ?? ''
    await writeFile(join(folder, 'client.ts'), example.replace("'rollcall/functions'", "'../../functions/index.ts'"))
    process.env['ROLLCALL_URL'] = url
    t.after(() => delete process.env['ROLLCALL_URL'])
    const { connect, members } = await import(pathToFileURL(join(folder, 'client.ts')).href)
    assert.deepEqual(
      members.map(({ node }: { node: string }) => node),
      ['app@10.0.0.2', 'job@10.0.0.9'],
    )
    assert.deepEqual(connect, [{ node: 'app@10.0.0.2', attempt: 1, reason: 'new' }])
    const listed = (await client.members()).members.map(({ node, status }) => `${node} ${status}`)
    assert.deepEqual(listed, ['app@10.0.0.2 up', 'job@10.0.0.9 leaving'])
  })

  test('cron registers and plans with curl and jq, and with rollcall once', {
    skip: missingPrograms('curl', 'jq'),
  }, async (t) => {
    const { url, client, folder, readme } = await serveRegistry(t)
    const script = blocks(readme, 'sh').find((text) => text.startsWith('# cron.sh')) ?? ''
    await writeFile(join(folder, 'cron.sh'), script)
    const run = async (connected: readonly string[]) => {
      const own = { ROLLCALL_URL: url, ROLLCALL_TOKEN: '', SELF: 'app@10.0.0.1', CONNECTED: JSON.stringify(connected) }
      const child = spawn('sh', ['cron.sh'], { cwd: folder, env: { ...process.env, ...own } })
      child.stderr.pipe(process.stderr)
      const [[code], printed] = await Promise.all([once(child, 'close'), child.stdout.toArray()])
      assert.equal(code, 0)
      return printed.join('')
    }
    assert.equal(await run([]), 'app@10.0.0.2\n')
    assert.equal(await run(['app@10.0.0.2']), '')
    await client.leave({ node: 'app@10.0.0.2', id: 'other' })
    const asked = { url, register: { ttl: '3m', meta: { by: 'cron' } } }
    const config = {
      node: 'app@10.0.0.3',
      distribution: { exec: { connect: ['true'], disconnect: ['true'], list: ['echo', 'app@10.0.0.1'] } },
      topologies: { web: { interval: '1m', sources: [{ function: asked }] } },
    }
    await writeFile(join(folder, 'rollcall.yaml'), JSON.stringify(config))
    for (let turn = 0; turn < 2; turn++) await runCli(['once', '--state', 'state.json'], { cwd: folder })
    const { members } = await client.members()
    const [last] = members.slice(-1)
    assert.deepEqual(last, { node: 'app@10.0.0.3', status: 'up', id: 'once', meta: { by: 'cron' } })
    assert.equal(members.find(({ node }) => node === 'app@10.0.0.1')?.id, 'cron')
  })

  test('the example of a JavaScript node runs, is called, calls, and ends with SIGTERM', async (t) => {
    const [example = ''] = blocks(await readFile(new URL('docs/javascript.md', ROOT), 'utf8'), 'ts')
    const folder = await mkdtemp(join(import.meta.dirname, 'example-'))
    t.after(() => rm(folder, { recursive: true }))
    const file = join(folder, 'cart.ts')
    await writeFile(file, example.replaceAll(/'rollcall\/(\w+)'/g, "'../../$1/index.ts'"))
    const epmd = { port: await freePort(), addresses: ['127.0.0.1'] }
    const stock = await startMember({ name: 'stock@127.0.0.1', cookie: 'secret', epmd })
    t.after(() => stock.stop())
    stock.register('shelf', { call: () => 12 })
    const child = spawn(process.execPath, [file], {
      env: { ...process.env, ERL_EPMD_PORT: String(epmd.port) },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    t.after(() => child.kill('SIGKILL'))
    const [printed] = (await once(child.stdout, 'data')) as [Buffer]
    assert.equal(printed.toString(), 'stock has 12\n')
    const cart = 'cart@127.0.0.1'
    assert.equal(textOf(await stock.rpc(cart, 'cart', 'greet', [binary('Jane')])), 'hello Jane')
    assert.equal(await stock.call({ node: cart, name: 'total' }, 5), 5)
    child.kill('SIGTERM')
    assert.deepEqual(await once(child, 'exit'), [0, null])
  })

  test('every reason and event of a plan stands in docs/decision.md', async () => {
    const [source, decision] = await Promise.all(
      ['core/plan.ts', 'docs/decision.md'].map((file) => readFile(new URL(file, ROOT), 'utf8')),
    )
    const unions = [...(source ?? '').matchAll(/(?:type \w+Reason =|^ {2}type:)\s([^\n]*(?:\n\s+\| '[a-z_]+')*)/gm)]
    const words = unions.flatMap(([, union = '']) => [...union.matchAll(/'([a-z_]+)'/g)].map(([, word]) => word))
    assert.ok(words.length > 25, words.join())
    assert.deepEqual(
      words.filter((word) => !decision?.includes(`\`${word}\``)),
      [],
    )
  })
})
