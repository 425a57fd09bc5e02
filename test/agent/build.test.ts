import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { temporaryFolder } from './cli-process.ts'

const run = promisify(execFile)
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
// Words that only this package has in its code.
const LAZY = {
  hono: 'hono',
  'dns-packet': 'RECURSION_DESIRED',
  'prom-client': 'collectDefaultMetrics',
  '@aws-sdk/client-ec2': 'reservationSet',
  '@aws-sdk/client-servicediscovery': 'Route53AutoNaming',
}

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let bin: string

before(async () => {
  folder = await temporaryFolder({
    // Nothing beside the bundle: no node_modules, and nobody else's package.json.
    'package.json': '{ "type": "module" }',
    'rollcall.yaml': `topologies:
  web:
    sources:
      - static: { nodes: [a@h] }
      - dns: { query: web.test., basename: a, server: "udp://127.0.0.1:1" }
      - ec2: { region: eu-west-1, basename: a, endpoint: "http://127.0.0.1:1" }
      - cloudmap: { region: eu-west-1, namespace: a, service: b, basename: a, endpoint: "http://127.0.0.1:1" }
`,
  })
  bin = join(folder.path, 'dist/agent/cli.js')
  await run(process.execPath, [join(ROOT, 'build.ts'), join(folder.path, 'dist')])
})
after(() => folder.remove())

/** Runs the built command line, also where it is to fail. */
async function rollcall(...args: string[]): Promise<{ stdout: string; stderr: string }> {
  const aws = { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b' }
  const env = { PATH: process.env['PATH'] ?? '', HOME: folder.path, ...aws }
  return await run(process.execPath, [bin, ...args], { cwd: folder.path, env }).catch((error) => error)
}

/** The code that is loaded with `file`: its own, and that of what it imports not lazily. */
async function codeOf(file: string, seen = new Set<string>()): Promise<string> {
  if (seen.has(file)) return ''
  seen.add(file)
  const code = await readFile(file, 'utf8')
  const imported = [...code.matchAll(/(?:\bfrom|\bimport)"(\.[^"]+)"/g)].map(([, path = '']) => join(file, '..', path))
  const others = await Promise.all(imported.map((each) => codeOf(each, seen)))
  return [code, ...others].join('\n')
}

test('the built command line runs with nothing beside it, from another folder', async () => {
  assert.match((await rollcall('--help')).stdout, /^Usage: rollcall/)
  const { version } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'))
  assert.equal((await rollcall('--version')).stdout, `${version}\n`)
  assert.match((await rollcall('schema')).stdout, /json-schema\.org/)
})

test('the built command line reads YAML, and asks DNS and AWS', async () => {
  const { observations } = JSON.parse((await rollcall('look', '--json')).stdout)
  const [listed, asked, ...others] = observations
  assert.deepEqual(listed.members, [{ node: 'a@h', status: 'up' }])
  assert.equal(asked.error.code, 'dns_unreachable')
  for (const { source, error } of others) assert.equal(error.code, 'unreachable', `${source}: ${error.message}`)
  assert.equal(others.length, 2)
})

test('what an idle agent does not need is in no chunk that it starts with', async () => {
  const chunks = join(folder.path, 'dist/agent/chunks')
  const names = await readdir(chunks)
  const agent = names.find((name) => name.startsWith('agent-')) ?? 'none'
  const started = [await codeOf(bin), await codeOf(join(chunks, agent))].join('\n')
  const all = (await Promise.all(names.map((name) => readFile(join(chunks, name), 'utf8')))).join('\n')
  for (const [name, word] of Object.entries(LAZY)) {
    assert.ok(all.includes(word), `${name} is in a chunk`)
    assert.ok(!started.includes(word), `${name} is not in the start`)
  }
  assert.ok(started.includes('source_doubted'), 'the core is in the start')
})
