import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { createEpmdSource, type EpmdSeams } from '../../../agent/strategies/epmd.ts'
import type { Observation } from '../../../core/member.ts'
import { observe } from '../../../functions/resolvers/source.ts'
import { parseOptions, sourceContract } from '../../contract/source-contract.ts'
import { createFakeLog } from '../fakes.ts'

const SELF = 'app@127.0.0.1'

/** Bytes, or the names that are registered, or silence. */
type Answer = Buffer | string | string[] | undefined

/** An epmd on one loopback address that answers any request alike. */
async function startEpmd(t: TestContext, answer: Answer, { host = '127.0.0.1', port = 0 } = {}) {
  const { promise: asked, resolve } = Promise.withResolvers<void>()
  const server: Server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', () => {
      resolve()
      if (answer !== undefined) socket.end(bytesOf(answer))
    })
  })
  t.after(() => void server.close())
  server.listen(port, host)
  await once(server, 'listening')
  const bound = server.address()
  if (bound === null || typeof bound === 'string') throw new Error('expected a TCP port')
  return { port: bound.port, asked, close: () => new Promise<void>((closed) => void server.close(() => closed())) }
}

function bytesOf(answer: Buffer | string | string[]): Buffer | string {
  if (!Array.isArray(answer)) return answer
  const lines = answer.map((name, index) => `name ${name} at port ${4_000 + index}\n`)
  return Buffer.concat([Buffer.from([0, 0, 17, 17]), Buffer.from(lines.join(''), 'utf8')])
}

const world =
  (answer: Answer, rest: object = {}) =>
  async (t: TestContext) => {
    const { port, asked } = await startEpmd(t, answer)
    return { options: { hosts: '127.0.0.1', port }, asked, ...rest }
  }

sourceContract({
  name: 'epmd',
  kind: 'epmd',
  load: () => createEpmdSource(),
  self: SELF,
  good: { hosts: ['localhost', 'fd00::1'], hostsFile: '.hosts.erlang', match: ['app*'], port: '4369', timeout: '2s' },
  bad: { hosts: 'a b', hostsFile: '', match: [], port: 70_000, timeout: 'soon' },
  lists: world(['app', 'db', 'db'], { nodes: [SELF, 'db@127.0.0.1'] }),
  nobody: world([]),
  flawed: {
    'a name with an @': world(['app', 'a@b'], { nodes: [SELF] }),
    'a name with a blank': world(['app', 'a b'], { nodes: [SELF] }),
    'a name with a NUL byte': world(['app', 'a\0'], { nodes: [SELF] }),
    'a name that is not ASCII': world(['app', 'søren'], { nodes: [SELF] }),
    'a name that is too long': world(['app', 'x'.repeat(300)], { nodes: [SELF] }),
  },
  failing: {
    'an answer of nothing': world('', { code: 'epmd_garbled' }),
    'an answer that was cut': world('\0\0\x11\x11name app at po', { code: 'epmd_garbled' }),
    'an HTTP server': world('HTTP/1.1 400 Bad Request\r\n\r\n', { code: 'epmd_garbled' }),
    'a name that breaks its line': world(['app', 'a\nb'], { code: 'epmd_garbled' }),
    'nothing but bad names': world(['a@b'], { code: 'bad_answer' }),
    'a port where nobody listens': async (t) => {
      const { port, close } = await startEpmd(t, undefined)
      await close()
      return { options: { hosts: '127.0.0.1', port }, code: 'epmd_unreachable' }
    },
  },
  hangs: world(undefined),
  floods: world(Buffer.alloc(64 * 1024 * 1024, 'name app at port 4000\n'), { code: 'epmd_garbled' }),
})

interface Looking extends EpmdSeams {
  self?: string | undefined
}

async function look(options: Record<string, unknown>, { self = SELF, ...seams }: Looking = {}): Promise<Observation> {
  const { signal } = new AbortController()
  const context = { source: 'epmd', self, signal, now: () => 1_000, log: createFakeLog(), fetch }
  return await observe(createEpmdSource(seams), parseOptions('epmd', options), context)
}

const nodesOf = ({ members = [] }: Observation) => members.map(({ node }) => node)
const errorOf = (observation: Observation) =>
  observation.outcome === 'failed' ? observation.error : { code: '', message: '' }

describe('the epmd source', () => {
  it('gives the nodes of localhost the host of the own node', async (t) => {
    const { port } = await startEpmd(t, ['app', 'db'])
    const observation = await look({ port }, { self: 'app@box.internal' })
    assert.deepEqual(nodesOf(observation), ['app@box.internal', 'db@box.internal'])
    assert.equal(observation.outcome, 'complete')
  })

  it('cannot name the nodes of localhost where no node asks', async (t) => {
    const { port } = await startEpmd(t, ['app'])
    const context = { source: 'e', signal: new AbortController().signal, now: () => 1, log: createFakeLog(), fetch }
    const observation = await observe(createEpmdSource(), parseOptions('epmd', { port }), context)
    assert.equal(errorOf(observation).code, 'config')
  })

  it('asks each host once and names its nodes by it, whatever its form', async (t) => {
    const { port } = await startEpmd(t, ['app'])
    await startEpmd(t, ['app'], { host: '127.0.0.2', port })
    await startEpmd(t, ['six'], { host: '::1', port })
    const hosts = ['127.0.0.2', '127.0.0.1', '[::1]', '0:0:0:0:0:0:0:1', '127.0.0.2']
    assert.deepEqual(nodesOf(await look({ port, hosts })), ['app@127.0.0.1', 'app@127.0.0.2', 'six@::1'])
  })

  it('is partial when a host does not answer, and says which and why', async (t) => {
    const { port } = await startEpmd(t, ['app'])
    const observation = await look({ port, hosts: ['127.0.0.1', '127.0.0.9'] })
    assert.deepEqual(nodesOf(observation), ['app@127.0.0.1'])
    assert.equal(observation.outcome, 'partial')
    assert.match(
      observation.outcome === 'partial' ? observation.reason : '',
      /epmd at 127\.0\.0\.9:\d+, got .*ECONNREFUSED/,
    )
  })

  it('is partial when a host hangs until its time is over, and keeps the rest', async (t) => {
    const { port } = await startEpmd(t, ['app'])
    await startEpmd(t, undefined, { host: '127.0.0.2', port })
    const observation = await look({ port, hosts: ['127.0.0.1', '127.0.0.2'], timeout: '50ms' })
    assert.equal(observation.outcome, 'partial')
    assert.deepEqual(nodesOf(observation), ['app@127.0.0.1'])
  })

  it('fails when no host answers', async (t) => {
    const { port, close } = await startEpmd(t, undefined)
    await close()
    assert.equal(errorOf(await look({ port, hosts: ['127.0.0.1', '127.0.0.9'] })).code, 'epmd_unreachable')
  })

  it('lists only the names that match, of self too', async (t) => {
    const { port } = await startEpmd(t, ['app', 'app_2', 'db', 'rem-1'])
    const observation = await look({ port, hosts: '127.0.0.1', match: ['app*', 'd?'] })
    assert.deepEqual(nodesOf(observation), ['app@127.0.0.1', 'app_2@127.0.0.1'])
    assert.deepEqual(await look({ port, hosts: '127.0.0.1', match: 'none' }), {
      source: 'epmd',
      at: 1_000,
      outcome: 'complete',
      members: [],
    })
  })

  it('takes the port of ERL_EPMD_PORT, after its own', async (t) => {
    const { port } = await startEpmd(t, ['app'])
    const env = { ERL_EPMD_PORT: String(port) }
    assert.deepEqual(nodesOf(await look({ hosts: '127.0.0.1' }, { env })), ['app@127.0.0.1'])
    const other = await startEpmd(t, ['db'])
    assert.deepEqual(nodesOf(await look({ hosts: '127.0.0.1', port: other.port }, { env })), ['db@127.0.0.1'])
  })
})

describe('its hosts file', () => {
  /** A working directory, a home and an OTP root, each with or without a hosts file. */
  async function setUp(
    t: TestContext,
    files: { directory?: string; HOME?: string; ROOTDIR?: string; ERL_ROOTDIR?: string },
  ) {
    const folder = await mkdtemp(join(tmpdir(), 'rollcall-hosts-'))
    t.after(() => rm(folder, { recursive: true }))
    const { port } = await startEpmd(t, ['app'])
    const hosts = ['127.0.0.1', '127.0.0.2', '127.0.0.3', '127.0.0.4']
    for (const host of hosts.slice(1)) await startEpmd(t, ['app'], { host, port })
    for (const [place, content] of Object.entries(files)) {
      await mkdir(join(folder, place))
      await writeFile(join(folder, place, '.hosts.erlang'), content)
    }
    const env = Object.fromEntries(['HOME', 'ROOTDIR', 'ERL_ROOTDIR'].map((name) => [name, join(folder, name)]))
    const seams = { env, directory: join(folder, 'directory') }
    return {
      folder,
      port,
      seams,
      look: (options = {}) => look({ port, hostsFile: '.hosts.erlang', ...options }, seams),
    }
  }

  it('is looked for in the working directory, then at home, then where OTP is, as OTP does', async (t) => {
    const all = {
      directory: "'127.0.0.1'.",
      HOME: "'127.0.0.2'.",
      ROOTDIR: "'127.0.0.3'.",
      ERL_ROOTDIR: "'127.0.0.4'.",
    }
    assert.deepEqual(nodesOf(await (await setUp(t, all)).look()), ['app@127.0.0.1'])
    const { directory: _directory, ...atHome } = all
    assert.deepEqual(nodesOf(await (await setUp(t, atHome)).look()), ['app@127.0.0.2'])
    const { HOME: _home, ...atRoot } = atHome
    assert.deepEqual(nodesOf(await (await setUp(t, atRoot)).look()), ['app@127.0.0.3'])
    const { seams, port } = await setUp(t, { ERL_ROOTDIR: all.ERL_ROOTDIR })
    const { ROOTDIR: _root, ...env } = seams.env
    assert.deepEqual(nodesOf(await look({ port, hostsFile: '.hosts.erlang' }, { ...seams, env })), ['app@127.0.0.4'])
  })

  it('may be anywhere, and adds its hosts to others', async (t) => {
    const { folder, ...world_ } = await setUp(t, { HOME: '% two\n\'127.0.0.2\'.\n"127.0.0.3".\n' })
    const hostsFile = join(folder, 'HOME', '.hosts.erlang')
    assert.deepEqual(nodesOf(await world_.look({ hostsFile })), ['app@127.0.0.2', 'app@127.0.0.3'])
    const both = await world_.look({ hostsFile, hosts: ['127.0.0.1', '127.0.0.2'] })
    assert.deepEqual(nodesOf(both), ['app@127.0.0.1', 'app@127.0.0.2', 'app@127.0.0.3'])
  })

  it('is read anew at each look', async (t) => {
    const { folder, ...world_ } = await setUp(t, { HOME: "'127.0.0.2'." })
    assert.deepEqual(nodesOf(await world_.look()), ['app@127.0.0.2'])
    await writeFile(join(folder, 'HOME', '.hosts.erlang'), "'127.0.0.3'.")
    assert.deepEqual(nodesOf(await world_.look()), ['app@127.0.0.3'])
  })

  it('that is nowhere is a failure that names the places', async (t) => {
    const error = errorOf(await (await setUp(t, {})).look())
    assert.equal(error.code, 'hosts_file_missing')
    assert.match(
      error.message,
      /directory\/\.hosts\.erlang or .*HOME\/\.hosts\.erlang or .*\/ROOTDIR\/\.hosts\.erlang, got none$/,
    )
  })

  it('that cannot be read is a failure, and the next one does not stand in for it', async (t) => {
    const { folder, ...world_ } = await setUp(t, { HOME: "'127.0.0.2'." })
    await mkdir(join(folder, 'directory', '.hosts.erlang'), { recursive: true })
    const error = errorOf(await world_.look())
    assert.equal(error.code, 'hosts_file_missing')
    assert.match(error.message, /expected to read .*, got EISDIR/)
  })

  it('with a mistake is a failure that names the line, and one without hosts is no list of nobody', async (t) => {
    assert.equal(errorOf(await (await setUp(t, { HOME: 'a.b.c.' })).look()).code, 'hosts_file_malformed')
    assert.equal(errorOf(await (await setUp(t, { HOME: '% later\n' })).look()).code, 'hosts_file_empty')
  })
})
