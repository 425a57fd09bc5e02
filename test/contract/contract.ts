import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import {
  type MembersDocument,
  membersDocumentSchema,
  planDocumentSchema,
  problemSchema,
  topologiesDocumentSchema,
} from '../../core/wire.ts'
import { revisionOf } from '../../core/revision.ts'
import openapi from '../../functions/public/openapi.json' with { type: 'json' }
import { describeRegistry } from './registry-contract.ts'
import { startUpstream, type Upstream } from './upstream.ts'

/** A function that runs somewhere. */
export interface Host {
  /** `path` is absolute, without origin. */
  fetch: (path: string, init?: RequestInit) => Promise<Response>
  close: () => Promise<void>
}

export interface ContractOptions {
  /** Where it runs, for the names of the tests. */
  name: string
  /** Starts the function with this config, as plain data. */
  start: (config: object) => Promise<Host>
  /** Options of the registry source, as this host keeps leases. */
  registry: object
  /** Where a caller may wait for a change. */
  waits: 'everywhere' | 'registry' | 'nowhere'
  /** One line that says why not, or false. */
  skip?: string | false
}

export const TOKEN = 'b0Q5zq8nX3vC7kJ1sR9mW4yT6uL2pF0aHdGeIiNoKxE'
/** A token for nodes named app@10.… alone. */
export const NODE_TOKEN = 'h7Lk2Vw9cY4nB8xQ1zM6tR3sJ5dF0gPaUeIoKyNvTbw'
/** A token that may only read. */
export const READER_TOKEN = 'Qm3Zt8Kx5Vb1Nc7Ls4Wd9Rf2Yg6Hj0PaEiUoTkMvSxq'
const CALLERS = 1_000

/** What a function does over HTTP, wherever it runs: every host must pass it on its real runtime. */
export function describeContract({ name, start, registry, waits, skip = false }: ContractOptions): void {
  describe(`the function on ${name}`, { skip }, () => {
    let upstream: Upstream
    let host: Host

    before(async () => {
      upstream = await startUpstream()
      host = await start(configFor(upstream.server, registry))
    })

    after(async () => {
      await host?.close()
      await upstream?.close()
    })

    const get = (path: string, headers: Record<string, string> = {}) =>
      host.fetch(path, { headers: { authorization: `Bearer ${TOKEN}`, ...headers } })
    const post = (path: string, body: string) =>
      host.fetch(path, { method: 'POST', headers: { authorization: `Bearer ${TOKEN}` }, body })
    const membersOf = async (topology: string) => {
      const response = await get(`/v1/topologies/${topology}/members`)
      assert.equal(response.status, 200)
      return membersDocumentSchema.parse(await response.json())
    }

    /** Asks again until the document is as wanted: real time passes, and the interval of `brisk` with it. */
    async function membersUntil(topology: string, isWanted: (document: MembersDocument) => boolean) {
      for (;;) {
        const document = await membersOf(topology)
        if (isWanted(document)) return document
      }
    }

    it('lives, and says what it can do, to anybody', async () => {
      const health = await host.fetch('/healthz')
      assert.deepEqual([health.status, await health.json()], [200, { status: 'ok' }])
      const description = await host.fetch('/openapi.json')
      assert.deepEqual([description.status, await description.json()], [200, openapi])
    })

    it('asks its source once for a thousand callers, and gives them all the same', async () => {
      upstream.say('steady.test', ['10.0.0.2', '10.0.0.1'])
      const path = '/v1/topologies/steady/members'
      const responses = await Promise.all(Array.from({ length: CALLERS }, () => get(path)))
      const documents = await Promise.all(
        responses.map(async (response) => membersDocumentSchema.parse(await response.json())),
      )
      assert.equal(upstream.asked('steady.test'), 1)
      assert.equal(new Set(documents.map(({ revision }) => revision)).size, 1)
      const [document] = documents
      assert.deepEqual([document?.outcome, document?.stale], ['complete', false])
      assert.deepEqual(document?.members, [
        { node: 'app@10.0.0.1', status: 'up' },
        { node: 'app@10.0.0.2', status: 'up' },
      ])
    })

    it('answers 304 with an age to whoever has the revision, and says where it does not wait', async () => {
      const first = await get('/v1/topologies/fixed/members')
      const etag = first.headers.get('etag') ?? ''
      const { revision } = membersDocumentSchema.parse(await first.json())
      assert.equal(etag, `W/"${revision}"`)
      const second = await get('/v1/topologies/fixed/members?wait=50ms', { 'if-none-match': etag })
      assert.deepEqual([second.status, await second.text()], [304, ''])
      assert.equal(second.headers.get('rollcall-wait'), waits === 'everywhere' ? null : 'no')
      for (const { headers } of [first, second]) {
        assert.match(headers.get('age') ?? '', /^\d+$/)
        assert.match(headers.get('rollcall-age-ms') ?? '', /^\d+$/)
        assert.equal(headers.get('cache-control'), 'private, no-cache')
        assert.match(headers.get('x-request-id') ?? '', /./)
      }
    })

    it('names equal content alike on every host', async () => {
      const members = ['app@10.0.0.1', 'app@10.0.0.2'].map((node) => ({ node, status: 'up' as const }))
      const revision = revisionOf(members, [{ source: 'static', outcome: 'complete' }])
      assert.equal((await membersOf('fixed')).revision, revision)
    })

    it('answers 503 with Retry-After while its source has never answered', async () => {
      const response = await get('/v1/topologies/broken/members')
      assert.match(response.headers.get('retry-after') ?? '', /^[1-9]\d*$/)
      assert.deepEqual(await refusal(response), [503, 'no_answer_yet'])
    })

    it('keeps the last answer of a source that fails, marks it stale, and takes the next that comes', async () => {
      upstream.say('brisk.test', ['10.0.0.1'])
      const { revision } = await membersOf('brisk')
      upstream.say('brisk.test', 'servfail')
      const stale = await membersUntil('brisk', (document) => document.stale)
      assert.deepEqual([stale.outcome, stale.sources[0]?.error?.code], ['failed', 'dns_servfail'])
      assert.deepEqual(stale.members, [{ node: 'app@10.0.0.1', status: 'up' }])
      assert.notEqual(stale.revision, revision)
      upstream.say('brisk.test', ['10.0.0.1'])
      assert.equal((await membersUntil('brisk', (document) => !document.stale)).revision, revision)
    })

    it('is not held up for long by a source that hangs', async () => {
      upstream.say('brisk.test', ['10.0.0.1'])
      await membersUntil('brisk', ({ outcome }) => outcome === 'complete')
      upstream.say('brisk.test', 'silence')
      const stale = await membersUntil('brisk', (document) => document.stale)
      assert.deepEqual([stale.sources[0]?.error?.code, stale.members.length], ['dns_timeout', 1])
      upstream.say('brisk.test', 'servfail')
    })

    it('answers those who still wait for an ask whose first caller is gone', async () => {
      upstream.say('held.test', 'silence')
      const gone = new AbortController()
      const path = '/v1/topologies/held/members'
      const headers = { authorization: `Bearer ${TOKEN}` }
      const first = host.fetch(path, { headers, signal: gone.signal })
      const refused = assert.rejects(first)
      await upstream.whenAsked('held.test', 1)
      const others = Array.from({ length: 10 }, () => get(path))
      gone.abort()
      await refused
      upstream.say('held.test', ['10.0.0.9'])
      for (const response of await Promise.all(others)) assert.equal(response.status, 200)
      assert.equal(upstream.asked('held.test'), 1)
    })

    it('plans: connects to the members, and cuts nobody whom no source ever listed', async () => {
      const body = JSON.stringify({ self: 'app@10.0.0.1', connected: ['shell@10.0.0.99'] })
      const response = await post('/v1/topologies/fixed/plan', body)
      assert.equal(response.status, 200)
      const first = planDocumentSchema.parse(await response.json())
      assert.deepEqual(
        first.connect.map(({ node }) => node),
        ['app@10.0.0.2'],
      )
      assert.deepEqual(first.disconnect, [])
      const connected = ['app@10.0.0.2', 'shell@10.0.0.99']
      const again = await post(
        '/v1/topologies/fixed/plan',
        JSON.stringify({ self: 'app@10.0.0.1', connected, state: first.state }),
      )
      const second = planDocumentSchema.parse(await again.json())
      assert.deepEqual([second.connect, second.disconnect, second.leave], [[], [], false])
      assert.equal(second.topologies.fixed?.formed, true)
    })

    it('lets no cache on the way keep what it says, and none at all what holds for one caller alone', async () => {
      const path = '/v1/topologies/fixed'
      const table: [Promise<Response>, number, string][] = [
        [get('/v1/topologies'), 200, 'private, no-cache'],
        [get(`${path}/members`), 200, 'private, no-cache'],
        [get(`${path}/members`, { 'if-none-match': '*' }), 304, 'private, no-cache'],
        [post(`${path}/plan`, '{"self":"a@h","connected":[]}'), 200, 'no-store'],
        [get('/healthz'), 200, 'no-store'],
        [get('/v1/topologies/other/members'), 403, 'no-store'],
        [get('/v1/nowhere'), 404, 'no-store'],
        [get('/v1/topologies/broken/members'), 503, 'no-store'],
        [post(`${path}/members`, ''), 405, 'no-store'],
        [host.fetch(`${path}/members`), 401, 'no-store'],
      ]
      for (const [asked, status, cacheControl] of table) {
        const response = await asked
        await response.text()
        assert.deepEqual([response.status, response.headers.get('cache-control')], [status, cacheControl])
      }
    })

    it('lists what the token may see', async () => {
      const { topologies } = topologiesDocumentSchema.parse(await (await get('/v1/topologies')).json())
      assert.deepEqual(
        topologies.map(({ topology }) => topology),
        ['steady', 'brisk', 'held', 'broken', 'fixed', 'registered', 'crowded'],
      )
    })

    it('refuses strangers, and what is not theirs, with a problem each', async () => {
      const bare = await host.fetch('/v1/topologies/fixed/members')
      assert.equal(bare.headers.get('www-authenticate'), 'Bearer realm="rollcall"')
      assert.deepEqual(await refusal(bare), [401, 'unauthenticated'])
      assert.deepEqual(await refusal(await get('/v1/topologies', { authorization: 'Bearer guess' })), [
        401,
        'unauthenticated',
      ])
      assert.deepEqual(await refusal(await get('/v1/topologies/hidden/members')), [403, 'topology_forbidden'])
      assert.deepEqual(await refusal(await get('/v1/topologies/nowhere/members')), [403, 'topology_forbidden'])
      assert.deepEqual(await refusal(await get('/nowhere')), [404, 'not_found'])
      assert.deepEqual(await refusal(await post('/v1/topologies/fixed/members', '')), [405, 'method_not_allowed'])
    })

    it('refuses hostile bodies, and goes on', async () => {
      const table: [string, number, string][] = [
        ['{"self":', 400, 'bad_body'],
        [JSON.stringify({ self: 'app@h\nevil', connected: [] }), 400, 'bad_body'],
        [JSON.stringify({ self: 'app@h', connected: [], state: {} }), 400, 'bad_state'],
        [`${'['.repeat(500_000)}${']'.repeat(500_000)}`, 400, 'bad_body'],
        [JSON.stringify({ self: 'app@h', connected: [], pad: 'x'.repeat(5 * 1024 * 1024) }), 413, 'body_too_large'],
      ]
      for (const [body, status, code] of table) {
        assert.deepEqual(await refusal(await post('/v1/topologies/fixed/plan', body)), [status, code])
      }
      assert.equal((await host.fetch('/healthz')).status, 200)
    })

    describeRegistry({ host: () => host, waits: waits !== 'nowhere' })
  })
}

/** A problem's status and code. */
export async function refusal(response: Response): Promise<[number, string]> {
  assert.equal(response.headers.get('content-type'), 'application/problem+json')
  const { status, code } = problemSchema.parse(await response.json())
  assert.equal(status, response.status)
  return [status, code]
}

function configFor(server: string, registry: object): object {
  const topology = (query: string, interval: string, options = {}) => ({
    interval,
    sources: [{ dns: { query, server, types: ['A'], basename: 'app', ...options } }],
  })
  const fixed = { interval: '1h', sources: [{ static: { nodes: ['app@10.0.0.1', 'app@10.0.0.2'] } }] }
  const topologies = {
    steady: topology('steady.test', '1h'),
    brisk: topology('brisk.test', '50ms', { timeout: '400ms' }),
    held: topology('held.test', '1h'),
    broken: topology('broken.test', '1h'),
    fixed,
    registered: { interval: '1h', sources: [{ registry }] },
    crowded: { interval: '1h', sources: [{ registry }], policy: { maxMembers: 2 } },
    hidden: { interval: '1h', sources: [{ registry }] },
  }
  const visible = Object.keys(topologies).filter((topology) => topology !== 'hidden')
  const entry = (token: string, options: object) => ({
    sha256: createHash('sha256').update(token).digest('hex'),
    topologies: visible,
    ...options,
  })
  const auth = [
    entry(TOKEN, { name: 'contract', verbs: ['read', 'plan', 'register'] }),
    entry(NODE_TOKEN, { name: 'nodes', verbs: ['register'], nodes: 'app@10.*' }),
    entry(READER_TOKEN, { name: 'reader', verbs: ['read'] }),
  ]
  return { topologies, auth, log: { level: 'silent' } }
}
