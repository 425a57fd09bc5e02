import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { copyFile, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { runCli, startCli, temporaryFolder } from './cli-process.ts'

const SAMPLE = fileURLToPath(new URL('../../rollcall.yaml', import.meta.url))
// Links are the lines of a file.
const MESH = `distribution:
  exec: { connect: [sh, -c, 'echo "$1" >> links', sh, "{node}"], disconnect: [sh, -c, 'echo "$1" >> cuts', sh, "{node}"], list: [sh, -c, "cat links || true"] }`

let folder: Awaited<ReturnType<typeof temporaryFolder>>
// Asked by a source, and never answers.
const silent = createSocket('udp4')

before(async () => {
  silent.bind(0, '127.0.0.1')
  await once(silent, 'listening')
  const { port } = silent.address()
  folder = await temporaryFolder({
    'several.yaml': `node: a@h
topologies:
  web:
    sources:
      - static: { nodes: [a@h, b@h, { node: c@h, status: leaving }] }
      - static: { name: more, nodes: [d@h] }
      - dns: { query: web.test., basename: a, server: "udp://127.0.0.1:1" }
  jobs: { sources: [none] }`,
    'mesh.yaml': `node: a@h\n${MESH}\ntopologies: { web: { sources: [{ static: { nodes: [a@h, b@h, c@h] } }] } }`,
    'lonely.yaml': `node: a@h\n${MESH}\ntopologies: { web: { sources: [none], policy: { minPeers: 9 } } }`,
    'silent.yaml': `topologies: { web: { sources: [{ dns: { query: web.test., basename: a, server: "udp://127.0.0.1:${port}" } }] } }`,
  })
  await copyFile(SAMPLE, join(folder.path, 'rollcall.yaml'))
})
after(async () => {
  silent.close()
  await folder.remove()
})

function run(...args: string[]) {
  return runCli(args, { cwd: folder.path })
}

describe('rollcall look', () => {
  it('prints one JSON document with an observation for each source, in order, and ends with 1 when one failed', async () => {
    const { code, stdout } = await run('look', 'web', '--json', '--config', 'several.yaml')
    const { topology, observations } = JSON.parse(stdout)
    assert.equal(topology, 'web')
    const [first, second, third] = observations
    assert.deepEqual(Object.keys(JSON.parse(stdout)), ['topology', 'observations'])
    assert.deepEqual(
      observations.map(({ source }: { source: string }) => source),
      ['static', 'more', 'dns'],
    )
    assert.deepEqual(first.members.at(-1), { node: 'c@h', status: 'leaving' })
    assert.deepEqual(second.members, [{ node: 'd@h', status: 'up' }])
    assert.equal(third.outcome, 'failed')
    assert.equal(third.error.code, 'dns_unreachable')
    assert.equal(code, 1)
  })

  it('needs no topology where there is one, and tells a person who is there', async () => {
    const { code, stdout, stderr } = await run('look')
    assert.equal(stdout, 'static  complete, 3 members\n  app@10.0.0.1\n  app@10.0.0.2\n  app@10.0.0.3\n')
    assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
  })

  it('says that a topology without sources has none', async () => {
    const { code, stdout } = await run('look', 'jobs', '--config', 'several.yaml')
    assert.deepEqual({ code, stdout }, { code: 0, stdout: 'jobs has no sources\n' })
  })

  it('prints the log on stderr, however much there is', async () => {
    const { stdout } = await run('look', '--json', '--debug')
    assert.equal(JSON.parse(stdout).observations.length, 1)
  })
})

describe('rollcall plan', () => {
  it('says in words what it would do and why, and which links it assumed', async () => {
    const { code, stdout } = await run('plan')
    assert.match(stdout, /^app@10\.0\.0\.1, assuming no links/)
    assert.match(stdout, /^web {2}formed\n {2}static {2}complete, 3 members$/m)
    assert.match(stdout, /^connect {5}app@10\.0\.0\.2 {2}listed, and not connected yet$/m)
    assert.equal(code, 0)
  })

  it('prints the plan as one JSON document', async () => {
    const { stdout } = await run('plan', '--json', '--connected', 'app@10.0.0.2,other@h')
    const { connect, disconnect, topologies } = JSON.parse(stdout)
    assert.deepEqual(connect, [{ node: 'app@10.0.0.3', attempt: 1, reason: 'new' }])
    assert.deepEqual(disconnect, [])
    assert.equal(topologies.web.formed, true)
  })

  it('knows from the state file what it planned before, and keeps the file to its owner', async () => {
    await run('plan', '--state', 'plan.json')
    const { mode } = await stat(join(folder.path, 'plan.json'))
    assert.equal(mode & 0o777, 0o600)
    const { stdout } = await run('plan', '--state', 'plan.json')
    assert.match(stdout, /^hold {8}app@10\.0\.0\.2 {2}a dial is under way, for another \d+ s$/m)
    assert.doesNotMatch(stdout, /^connect/m)
  })

  it('ends with 1 when a source failed, and plans with what it has', async () => {
    const { code, stdout } = await run('plan', 'web', '--config', 'several.yaml')
    assert.match(stdout, /^ {2}dns {2}failed, dns_unreachable: /m)
    assert.match(stdout, /^connect {5}b@h /m)
    assert.equal(code, 1)
  })
})

describe('rollcall once', () => {
  it('dials who is listed, keeps the state and ends with 0 when the mesh is formed', async () => {
    const { code, stderr } = await run('once', '--config', 'mesh.yaml', '--state', 'once.json')
    assert.equal(code, 0, stderr)
    const links = await readFile(join(folder.path, 'links'), 'utf8')
    assert.deepEqual(links.trim().split('\n').sort(), ['b@h', 'c@h'])
    const state = JSON.parse(await readFile(join(folder.path, 'once.json'), 'utf8'))
    assert.equal(state.self, 'a@h')
  })

  it('dials nobody who is linked', async () => {
    const before = await readFile(join(folder.path, 'links'), 'utf8')
    assert.equal((await run('once', '--config', 'mesh.yaml', '--state', 'once.json')).code, 0)
    assert.equal(await readFile(join(folder.path, 'links'), 'utf8'), before)
  })

  it('ends with 1 when the mesh is not formed', async () => {
    const { code, stderr } = await run('once', '--config', 'lonely.yaml')
    assert.match(stderr, /^\[once\] expected every topology to be formed, got web not formed$/m)
    assert.equal(code, 1)
  })
})

describe('rollcall leave', () => {
  it('takes the node out of the mesh: of one that programs steer, by cutting each link', async () => {
    assert.equal((await run('leave', '--config', 'mesh.yaml')).code, 0)
    const cuts = await readFile(join(folder.path, 'cuts'), 'utf8')
    assert.deepEqual(cuts.trim().split('\n').sort(), ['b@h', 'c@h'])
  })
})

describe('rollcall agent', () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`ends with 0 on ${signal}`, async () => {
      const { child, ended, says } = startCli(['agent', '--config', 'mesh.yaml', '--debug'], { cwd: folder.path })
      await says(/member_listed/)
      child.kill(signal)
      const { code, stdout } = await ended
      assert.deepEqual({ code, stdout }, { code: 0, stdout: '' })
    })
  }

  it('wants a mesh to dial in', async () => {
    const { code, stderr } = await run('agent')
    assert.match(stderr, /^\[config\] \S+\.yaml: distribution: expected beam or exec, got none/m)
    assert.equal(code, 2)
  })
})

describe('rollcall serve', () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`serves the sample, says what to try, and ends with 0 on ${signal}`, async () => {
      const { child, ended, says } = startCli(['serve', '--port', '0'], { cwd: folder.path })
      const [, url = ''] = await says(/^ {2}curl (http:\S+\/v1\/topologies\/web\/members)$/m)
      const answer = (await (await fetch(url)).json()) as { members: unknown[] }
      assert.equal(answer.members.length, 3)
      child.kill(signal)
      const { code, stderr } = await ended
      assert.equal(code, 0, stderr)
    })
  }

  it('ends with 130 at a second signal, whatever is still under way', async () => {
    const { child, ended, says } = startCli(['serve', '--port', '0', '--config', 'silent.yaml'], { cwd: folder.path })
    const [, url = ''] = await says(/^ {2}curl (http:\S+\/v1\/topologies\/web\/members)$/m)
    const asked = once(silent, 'message')
    const answer = fetch(url).then(
      () => 'answered',
      () => 'cut off',
    )
    await asked
    child.kill('SIGINT')
    await says(/a second signal ends at once/)
    child.kill('SIGINT')
    assert.equal((await ended).code, 130)
    assert.equal(await answer, 'cut off')
  })

  it('says which port is taken, and ends with 1', async () => {
    const first = startCli(['serve', '--port', '0'], { cwd: folder.path })
    const [, port = ''] = await first.says(/listens on http:\/\/127\.0\.0\.1:(\d+)/)
    const { code, stderr } = await run('serve', '--port', port)
    first.child.kill()
    await first.ended
    assert.match(stderr, new RegExp(`^\\[serve\\] expected port ${port} of 127.0.0.1 to be free, got EADDRINUSE`))
    assert.equal(code, 1)
  })
})

describe('rollcall schema and rollcall token', () => {
  it('print the schema as one JSON document, in a folder without a config', async () => {
    const { code, stdout } = await run('schema', '--config', 'none.yaml')
    assert.equal(JSON.parse(stdout).$schema, 'https://json-schema.org/draft/2020-12/schema')
    assert.equal(code, 0)
  })

  it('print a new token of 32 bytes each time, with its hash', async () => {
    const made = await Promise.all([run('token', '--json'), run('token', '--json')])
    const [first, second] = made.map(({ stdout }) => JSON.parse(stdout))
    assert.equal(Buffer.from(first.token, 'base64url').length, 32)
    assert.equal(first.sha256, createHash('sha256').update(first.token).digest('hex'))
    assert.notEqual(first.token, second.token)
  })

  it('print the hash where it is to be pasted', async () => {
    const { stdout } = await run('token')
    const [, sha256 = ''] = /^sha256 {2}(\w{64})$/m.exec(stdout) ?? []
    assert.ok(stdout.includes(`- { name: agents, sha256: ${sha256}, topologies: [web], verbs: [read, plan] }`))
  })
})
