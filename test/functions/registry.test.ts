import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, it } from 'node:test'
import { RollcallError } from '../../core/error.ts'
import { membersDocumentSchema, problemSchema, registeredDocumentSchema } from '../../core/wire.ts'
import { type AppOptions, createApp } from '../../functions/app.ts'
import { openMemoryStore } from '../../functions/stores/memory.ts'
import type { OpenStore } from '../../functions/stores/store.ts'
import { settledHeap } from '../agent/beam/settled-heap.ts'
import { complete, createClock, createMemoryLog, createScripted, topologiesOf } from './scripted.ts'

const MEMBERS = '/v1/topologies/web/members'
const TOKEN = 'x'.repeat(43)

function setUp({ policy = {}, interval = '5s', ...options }: Partial<AppOptions> & Setting = {}) {
  const clock = createClock()
  const log = createMemoryLog()
  const app = createApp({
    topologies: topologiesOf({ web: { interval, sources: [{ registry: {} }], policy } }),
    auth: 'none',
    loaders: {},
    stores: { memory: openMemoryStore },
    now: clock.now,
    log,
    ...options,
  })
  const put = (node: string, body: unknown, headers = {}) =>
    app.request(`${MEMBERS}/${node}`, {
      method: 'PUT',
      body: typeof body === 'string' ? body : JSON.stringify(body),
      headers,
    })
  const members = async () => membersDocumentSchema.parse(await (await app.request(MEMBERS)).json()).members
  return { app, clock, log, put, members }
}

interface Setting {
  policy?: object
  interval?: string
}

async function refusal(response: Response | Promise<Response>): Promise<[number, string]> {
  const { status, code, detail } = problemSchema.parse(await (await response).json())
  assert.match(detail, /^\[\w+\] expected /)
  return [status, code]
}

function authOf(...entries: object[]): AppOptions['auth'] {
  const sha256 = createHash('sha256').update(TOKEN).digest('hex')
  return entries.map((entry) => ({ name: 'it', sha256, topologies: '*', verbs: ['register'], nodes: '*', ...entry }))
}

describe('a registration', () => {
  it('shows at once, though the source was asked a moment ago, and a renewal asks nobody', async () => {
    let reads = 0
    const counting: OpenStore = async (options) => {
      const store = await openMemoryStore(options)
      const read: typeof store.read = (signal) => {
        reads++
        return store.read(signal)
      }
      return { ...store, read }
    }
    const { put, members } = setUp({ stores: { memory: counting } })
    assert.deepEqual(await members(), [])
    await put('a@h', { id: '1' })
    assert.deepEqual(await members(), [{ node: 'a@h', status: 'up', id: '1' }])
    const before = reads
    await put('a@h', { id: '1' })
    assert.equal((await members()).length, 1)
    assert.equal(reads, before)
    await put('a@h', { id: '1', status: 'leaving' })
    assert.deepEqual(await members(), [{ node: 'a@h', status: 'leaving', id: '1' }])
  })

  it('is not hidden by an ask that began before it', async () => {
    const { promise: held, resolve } = Promise.withResolvers<void>()
    let isFirst = true
    const slow: OpenStore = async (options) => {
      const store = await openMemoryStore(options)
      return {
        ...store,
        async read(signal) {
          const kept = await store.read(signal)
          const holds = isFirst
          isFirst = false
          if (holds) await held
          return kept
        },
      }
    }
    const { app, put, members } = setUp({ stores: { memory: slow } })
    const early = app.request(MEMBERS)
    assert.equal((await put('a@h', { id: '1' })).status, 200)
    resolve()
    await early
    assert.equal((await members()).length, 1)
  })

  it('ends when it is not renewed, seen an interval later at most', async () => {
    const { put, clock, members } = setUp()
    for (let passed = 0; passed <= 40_000; passed += 5_000) {
      if (passed === 0) await put('a@h', { id: '1' })
      await put('b@h', { id: '1' })
      clock.pass(5_000)
    }
    assert.deepEqual(
      (await members()).map(({ node }) => node),
      ['b@h'],
    )
  })

  it('lasts as long as it says within what is granted, and refuses what is no time', async () => {
    const { put } = setUp()
    const granted = async (ttl: string) => {
      const response = await put('a@h', `{"id":"1","ttlMs":${ttl}}`)
      if (response.status !== 200) return await refusal(response)
      return registeredDocumentSchema.parse(await response.json()).ttlMs
    }
    assert.equal(await granted('0.5'), 1_000)
    assert.equal(await granted('5000'), 5_000)
    assert.equal(await granted('1e300'), 30_000)
    for (const wrong of ['0', '-1', '1e999', 'null', '"30s"', '[1]']) {
      assert.deepEqual(await granted(wrong), [400, 'bad_body'], wrong)
    }
    assert.deepEqual(await granted('NaN'), [400, 'bad_body'])
  })

  it('refuses ids that are none, and meta and addresses beyond their bounds', async () => {
    const { put, members } = setUp()
    const bodies: unknown[] = [
      {},
      { id: '' },
      { id: 7 },
      { id: 'x'.repeat(256) },
      { id: 'line\nbreak' },
      { id: 'nul\0' },
      { id: 'é' },
      { id: '1', status: 'gone' },
      { id: '1', address: { host: 'h', port: 0 } },
      { id: '1', address: { host: 'x'.repeat(256), port: 1 } },
      { id: '1', meta: { ['k'.repeat(256)]: 'v' } },
      { id: '1', meta: { k: 'v'.repeat(1_025) } },
      { id: '1', meta: { k: 1 } },
      '',
      'null',
      '[]',
      '{"id":',
      `${'['.repeat(2_000)}${']'.repeat(2_000)}`,
    ]
    for (const body of bodies)
      assert.deepEqual(await refusal(put('a@h', body)), [400, 'bad_body'], JSON.stringify(body))
    assert.deepEqual(await members(), [])
  })

  it('takes the names of prototypes in meta for what they are', async () => {
    const { put, members } = setUp()
    const body = '{"id":"1","meta":{"__proto__":"x","constructor":"y","toString":"z"},"__proto__":{"status":"leaving"}}'
    assert.equal((await put('a@h', body)).status, 200)
    const [member] = await members()
    assert.equal(member?.status, 'up')
    assert.deepEqual(Object.keys(member.meta ?? {}), ['constructor', 'toString'])
    assert.equal(Object.hasOwn(Object.prototype, 'status'), false)
    assert.equal((await put('__proto__@h', { id: '1' })).status, 200)
    assert.equal((await members()).length, 2)
  })

  it('refuses 10 MB at once, told or not told beforehand, without reading them', async () => {
    const { app, put } = setUp()
    assert.deepEqual(await refusal(put('a@h', `{"id":"${'x'.repeat(10_000_000)}"}`)), [413, 'body_too_large'])
    let pulled = 0
    const endless = new ReadableStream({
      pull(controller) {
        pulled++
        controller.enqueue(new Uint8Array(1_024))
      },
    })
    const init = { method: 'PUT', body: endless, duplex: 'half' }
    assert.deepEqual(await refusal(await app.request(`${MEMBERS}/a@h`, init as RequestInit)), [413, 'body_too_large'])
    assert.ok(pulled < 20, `${pulled} chunks`)
  })

  it('takes no name that is none, however it is written in the path', async () => {
    const { put, members } = setUp()
    for (const node of ['a', '@', 'a@', '@h', 'a@b@c', 'a%00@h', 'a%0d%0a@h', 'a%20b@h', 'a@h%C3%A9', '%2e%2e']) {
      const [status] = await refusal(put(node, { id: '1' }))
      assert.ok(status === 400 || status === 404 || status === 405, `${node}: ${status}`)
    }
    for (const node of ['..', '.', '', 'a@h/../../other', 'a@h/b']) {
      const { status } = await put(node, { id: '1' })
      assert.ok(status === 404 || status === 405, `${node}: ${status}`)
    }
    assert.deepEqual(await members(), [])
    // Odd, and names: what is no encoding stays as it is.
    for (const node of ['..@h', '%ff@h']) assert.equal((await put(node, { id: '1' })).status, 200, node)
    assert.deepEqual(
      (await members()).map(({ node }) => node),
      ['%ff@h', '..@h'],
    )
  })

  it('of one more than maxMembers is refused, 100,000 times over, and memory stays', { timeout: 120_000 }, async () => {
    const quiet = () => {}
    const log = { debug: quiet, info: quiet, warn: quiet, error: quiet }
    const { put, members, clock } = setUp({ policy: { maxMembers: 1_000 }, interval: '1h', log })
    for (let index = 0; index < 1_000; index++) assert.equal((await put(`n${index}@h`, { id: '1' })).status, 200)
    const before = await settledHeap()
    const codes = new Set<number>()
    for (let index = 1_000; index < 101_000; index++) codes.add((await put(`n${index}@h`, { id: '1' })).status)
    assert.deepEqual([...codes], [503])
    const grown = (await settledHeap()) - before
    assert.ok(grown < 4 * 1024 * 1024, `${grown} bytes`)
    assert.deepEqual(await refusal(put('z@h', { id: '1' })), [503, 'registry_full'])
    assert.equal((await put('n5@h', { id: '2' })).status, 200, 'who is in it goes on')
    assert.equal((await members()).length, 1_000)
    clock.pass(120_000)
    assert.equal((await put('z@h', { id: '1' })).status, 200, 'their leases have ended')
  })

  it('is for whoever may register that node, and for nobody else', async () => {
    const headers = { authorization: `Bearer ${TOKEN}` }
    const inPattern = setUp({ auth: authOf({ nodes: 'app@10.*' }) })
    assert.equal((await inPattern.put('app@10.0.0.1', { id: '1' }, headers)).status, 200)
    for (const node of ['app@11.0.0.1', 'xapp@10.0.0.1', 'app@1%30', 'APP@10.0.0.1']) {
      assert.deepEqual(await refusal(inPattern.put(node, { id: '1' }, headers)), [403, 'node_forbidden'], node)
    }
    const gone = await inPattern.app.request(`${MEMBERS}/app@11.0.0.1?id=1`, { method: 'DELETE', headers })
    assert.deepEqual(await refusal(gone), [403, 'node_forbidden'])
    // The pattern is held to the name that is listed, not to another way to write it.
    const bracketed = setUp({ auth: authOf({ nodes: 'app@fd00::1' }) })
    assert.equal((await bracketed.put('app@[FD00:0::1]', { id: '1' }, headers)).status, 200)
    for (const entry of [{ verbs: ['read', 'plan'] }, { topologies: ['other'] }]) {
      const { put } = setUp({ auth: authOf(entry) })
      assert.equal((await put('a@h', { id: '1' }, headers)).status, 403)
      assert.deepEqual(await refusal(put('a@h', { id: '1' })), [401, 'unauthenticated'])
    }
  })

  it('says that the store cannot be reached, and why in the log alone', async () => {
    const broken: OpenStore = async () => ({
      read: async () => ({ clock: { since: 0, lastWriteAt: 0, extendedMs: 0 }, leases: [] }),
      change: async () => {
        const cause = new Error('AKIA-secret')
        throw new RollcallError('store_unavailable', '[registry] expected a store to answer, got none', { cause })
      },
    })
    const { put, log } = setUp({ stores: { memory: broken } })
    const response = await put('a@h', { id: '1' })
    assert.match(response.headers.get('retry-after') ?? '', /^\d+$/)
    const text = await response.text()
    assert.match(text, /store_unavailable/)
    assert.doesNotMatch(text, /secret/)
    const failure = log.lines.find(({ message }) => message === 'a request failed')
    assert.ok(failure)
    const { err } = failure.fields as { err: Error }
    assert.match(String(err.cause), /secret/)
  })
})

describe('a topology with a registry', () => {
  it('is merged with its other sources, and has one registry', async () => {
    const other = createScripted(complete('s@h'))
    const sources = [{ registry: { name: 'leases' } }, { static: { nodes: [] } }]
    const { put, members } = setUp({
      topologies: topologiesOf({ web: { sources } }),
      loaders: { static: async () => other.source },
    })
    await put('a@h', { id: '1' })
    assert.deepEqual(
      (await members()).map(({ node }) => node),
      ['a@h', 's@h'],
    )
    assert.throws(() => topologiesOf({ web: { sources: [{ registry: {} }, { registry: { name: 'b' } }] } }), {
      code: 'config',
      message: /sources\[1\]\.registry: expected one registry in a topology, got a second/,
    })
  })

  it('is refused where the host has no such store, and with options of another', () => {
    assert.throws(() => setUp({ stores: {} }), { code: 'config', message: /a store of this host \(none\), got memory/ })
    const wrong: [object, RegExp][] = [
      [{ store: 'dynamodb' }, /expected table beside store: dynamodb/],
      [{ table: 't' }, /expected table beside store: dynamodb/],
      [{ region: 'eu-west-1' }, /region and endpoint only beside/],
      [{ store: 'dynamodb', table: 't', endpoint: 'nowhere' }, /endpoint/],
      [{ store: 'redis' }, /memory, durable-object or dynamodb/],
      [{ ttl: '10ms' }, /a lease of at least 1s/],
    ]
    for (const [registry, message] of wrong) {
      assert.throws(() => topologiesOf({ web: { sources: [{ registry }] } }), { code: 'config', message })
    }
  })
})

describe('the rate of calls', () => {
  const auth = authOf({ verbs: ['read', 'register'] })
  const headers = { authorization: `Bearer ${TOKEN}` }

  it('is bounded per token, with a problem that says when to come again, and comes back with time', async () => {
    const { app, clock, put } = setUp({ auth })
    const ask = async () => (await app.request(MEMBERS, { headers })).status
    for (let count = 0; count < 10_000; count++) assert.equal(await ask(), 200)
    const refused = await put('a@h', { id: '1' }, headers)
    assert.equal(refused.headers.get('retry-after'), '1')
    assert.deepEqual(await refusal(refused), [429, 'too_many_requests'])
    assert.equal((await app.request('/healthz')).status, 200)
    clock.pass(1)
    const answers = await Promise.all(Array.from({ length: 6 }, ask))
    assert.equal(answers.filter((status) => status === 200).length, 5)
  })

  it('is bounded for strangers together, and no stranger shuts out a known caller', async () => {
    const { app, clock } = setUp({ auth })
    const ask = async (token: string) =>
      (await app.request(MEMBERS, { headers: { authorization: `Bearer ${token}` } })).status
    for (let count = 0; count < 1_000; count++) assert.equal(await ask(`guess${count}`), 401)
    assert.equal(await ask('guess'), 429)
    assert.equal((await app.request(MEMBERS)).status, 429)
    assert.equal(await ask(TOKEN), 200)
    clock.pass(-60_000)
    assert.equal(await ask('guess'), 429, 'a clock that was set back gives nothing')
    clock.pass(10)
    assert.equal(await ask('guess'), 401)
  })
})

describe('a departure', () => {
  it('needs the id that registered, and answers with the revision that shows it', async () => {
    const { app, put, members } = setUp()
    await put('a@h', { id: '1' })
    const remove = (query: string) => app.request(`${MEMBERS}/a@h${query}`, { method: 'DELETE' })
    for (const query of ['', '?id=', '?id=a%20b', `?id=${'x'.repeat(300)}`]) {
      assert.deepEqual(await refusal(remove(query)), [400, 'bad_query'], query)
    }
    assert.deepEqual(await refusal(remove('?id=2')), [409, 'replaced'])
    const gone = registeredDocumentSchema.parse(await (await remove('?id=1')).json())
    const document = membersDocumentSchema.parse(await (await app.request(MEMBERS)).json())
    assert.equal(document.revision, gone.revision)
    assert.deepEqual(await members(), [{ node: 'a@h', status: 'leaving', id: '1' }])
  })
})
