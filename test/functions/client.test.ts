import assert from 'node:assert/strict'
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { describe, it, type TestContext } from 'node:test'
import { type ClientOptions, createClient } from '../../functions/client.ts'
import { createManualClock } from '../agent/manual-clock.ts'
import { flooding, nowhere, serveLoopback } from '../contract/loopback.ts'

const NODE = 'app@10.0.0.1'
const MEMBERS = [{ node: NODE, status: 'up' as const }]

const documentOf = (changes: object = {}) => ({
  topology: 'web',
  revision: 'r1',
  outcome: 'complete',
  ageMs: 0,
  stale: false,
  members: MEMBERS,
  sources: [{ source: 'registry', outcome: 'complete', ageMs: 0 }],
  ...changes,
})

const says =
  (status: number, body: object | undefined, headers: Record<string, string> = {}): RequestListener =>
  (_request, response) =>
    void response.writeHead(status, headers).end(body && JSON.stringify(body))

const problem = (status: number, code: string, headers: Record<string, string> = {}) =>
  says(status, { type: 'about:blank', title: code, status, code, detail: `expected no ${code}` }, headers)

/** A client of a server that gives these answers in turn, the last one for ever, on a clock that stands still. */
async function setUp(t: TestContext, answers: RequestListener[], options: Partial<ClientOptions> = {}) {
  const requests: { method: string; url: string; headers: IncomingMessage['headers']; body: string }[] = []
  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', url = '', headers } = request
    requests.push({ method, url, headers, body: (await request.toArray()).join('') })
    answers[Math.min(requests.length, answers.length) - 1]?.(request, response)
  }
  const { url, asked } = await serveLoopback(t, (request, response) => void handle(request, response))
  const clock = createManualClock()
  return { client: createClient({ url, topology: 'web', clock, ...options }), clock, requests, asked, url }
}

describe('the client of a function', () => {
  it('keeps what it was told, asks whether that holds, and gives it with its new age', async (t) => {
    const etag = { ETag: 'W/"r1"' }
    const { client, clock, requests } = await setUp(
      t,
      [says(200, documentOf({ ageMs: 1_000 }), etag), says(304, undefined, { 'Rollcall-Age-Ms': '2500' })],
      { token: 'secret' },
    )
    const first = await client.members()
    assert.deepEqual([first.members, first.ageMs], [MEMBERS, 1_000])
    await clock.advance(10_000)
    const second = await client.members()
    assert.deepEqual([second.members, second.ageMs, second.revision], [MEMBERS, 2_500, 'r1'])
    assert.deepEqual(second.sources, [{ source: 'registry', outcome: 'complete', ageMs: 2_500 }])
    assert.deepEqual(
      requests.map(({ headers }) => [headers.authorization, headers['if-none-match']]),
      [
        ['Bearer secret', undefined],
        ['Bearer secret', 'W/"r1"'],
      ],
    )
  })

  it('has the function wait once there is something to compare with, and for 30 s at most', async (t) => {
    const { client, requests } = await setUp(t, [
      says(200, documentOf(), { ETag: 'W/"r1"' }),
      says(304, undefined, { 'Rollcall-Wait': 'no' }),
    ])
    assert.equal((await client.members({ waitMs: 60_000 })).waits, true)
    assert.equal((await client.members({ waitMs: 60_000 })).waits, false)
    assert.deepEqual(
      requests.map(({ url }) => url),
      ['/v1/topologies/web/members', '/v1/topologies/web/members?wait=30000ms'],
    )
  })

  it('gives a wait its time before it gives the answer up', async (t) => {
    const { client, clock, requests } = await setUp(t, [says(200, documentOf(), { ETag: 'W/"r1"' }), () => undefined], {
      retries: 0,
    })
    await client.members()
    let isOver = false
    const waiting = client.members({ waitMs: 25_000 }).finally(() => (isOver = true))
    const rejected = assert.rejects(waiting, { code: 'timeout' })
    while (requests.length < 2) await clock.advance(0)
    await clock.advance(29_999)
    assert.equal(isOver, false)
    await clock.advance(1)
    await rejected
  })

  it('registers, renews and leaves, and takes the members along where it is told to', async (t) => {
    const { client, requests } = await setUp(t, [
      says(200, { ttlMs: 30_000, ...documentOf() }, { ETag: 'W/"r1"', 'Preference-Applied': 'return=representation' }),
      says(304, undefined),
      says(200, { ttlMs: 30_000, revision: 'r1' }),
    ])
    const own = { node: NODE, id: 'x', ttlMs: 60_000, meta: { zone: 'a' } }
    const { ttlMs, revision, listing } = await client.register(own, { members: true })
    assert.deepEqual([ttlMs, revision, listing?.members], [30_000, 'r1', MEMBERS])
    assert.equal((await client.members()).revision, 'r1')
    assert.equal((await client.register(own)).listing, undefined)
    await client.leave(own)
    const path = '/v1/topologies/web/members'
    assert.deepEqual(
      requests.map(({ method, url, body, headers }) => [method, url, body, headers.prefer ?? headers['if-none-match']]),
      [
        ['PUT', `${path}/app%4010.0.0.1`, '{"id":"x","ttlMs":60000,"meta":{"zone":"a"}}', 'return=representation'],
        ['GET', path, '', 'W/"r1"'],
        ['PUT', `${path}/app%4010.0.0.1`, '{"id":"x","ttlMs":60000,"meta":{"zone":"a"}}', undefined],
        ['DELETE', `${path}/app%4010.0.0.1?id=x`, '', undefined],
      ],
    )
  })

  for (const [status, code, advice] of [
    [401, 'unauthenticated', /check token/],
    [403, 'node_forbidden', /verbs and nodes of auth/],
    [404, 'no_registry', /give the topology a registry/],
    [409, 'left', /start it again/],
    [409, 'replaced', /another start of the node holds the lease/],
  ] as const) {
    it(`rejects with ${code}, and what to do, and does not insist`, async (t) => {
      const { client, requests } = await setUp(t, [problem(status, code)])
      await assert.rejects(client.leave({ node: NODE, id: 'x' }), (error: Error & { code?: string }) => {
        assert.equal(error.code, code)
        assert.match(error.message, new RegExp(`got ${status} ${code}, expected no ${code}: `))
        assert.match(error.message, advice)
        return true
      })
      assert.equal(requests.length, 1)
    })
  }

  for (const [what, code] of [
    ['internal', 'http_500'],
    ['No Code!', 'http_500'],
  ] as const) {
    it(`takes a problem of code ${what} for no more than its status`, async (t) => {
      const { client } = await setUp(t, [problem(500, what)], { retries: 0 })
      await assert.rejects(client.members(), { code })
    })
  }

  it('makes what may pass again, after the time that the function asks for and some of its own', async (t) => {
    const { client, clock, requests } = await setUp(t, [
      problem(503, 'no_answer_yet', { 'Retry-After': '2' }),
      (request) => void request.socket.destroy(),
      says(200, documentOf()),
    ])
    const asking = client.members()
    while (requests.length < 1 || clock.sleeping() === 0) await clock.advance(0)
    await clock.advance(2_499)
    assert.equal(requests.length, 1)
    await clock.advance(1)
    while (requests.length < 2) await clock.advance(0)
    await clock.advance(1_000)
    assert.deepEqual((await asking).members, MEMBERS)
    assert.equal(requests.length, 3)
  })

  it('gives up after its retries, and at once where it is to stay away for long', async (t) => {
    const { client, requests } = await setUp(t, [problem(429, 'too_many_requests', { 'Retry-After': '60' })])
    await assert.rejects(client.members(), { code: 'too_many_requests', retryAfterMs: 60_000 })
    assert.equal(requests.length, 1)
    const clock = {
      ...createManualClock(),
      sleep: (ms: number) => (ms > 4_000 ? new Promise<void>(() => undefined) : Promise.resolve()),
    }
    await assert.rejects(createClient({ url: await nowhere(), topology: 'web', clock }).members(), {
      code: 'unreachable',
    })
  })

  it('ends with its signal, while it asks and while it waits to ask again', async (t) => {
    const hanging = await setUp(t, [() => undefined])
    const ended = new AbortController()
    const asking = hanging.client.members({ signal: ended.signal })
    await hanging.asked
    ended.abort(new Error('enough'))
    await assert.rejects(asking, new Error('enough'))
    const { client, clock, requests } = await setUp(t, [problem(503, 'no_answer_yet')])
    const own = new AbortController()
    const again = client.members({ signal: own.signal })
    while (requests.length < 1 || clock.sleeping() === 0) await clock.advance(0)
    const rejected = assert.rejects(again, new Error('enough'))
    while (clock.sleeping() > 0) {
      own.abort(new Error('enough'))
      await clock.advance(0)
    }
    await rejected
  })

  it('asks for a plan and carries its state', async (t) => {
    const plan = { connect: [{ node: 'app@10.0.0.2', attempt: 1, reason: 'new' }], disconnect: [], hold: [] }
    const rest = { leave: false, topologies: {}, events: [], state: { version: 1, self: NODE }, recheckAt: 0 }
    const { client, requests } = await setUp(t, [says(200, { ...plan, ...rest })])
    const { connect, state } = await client.plan({ self: NODE, connected: [] })
    assert.deepEqual([connect, state], [plan.connect, { version: 1, self: NODE }])
    await client.plan({ self: NODE, connected: ['app@10.0.0.2'], state })
    assert.deepEqual(JSON.parse(requests[1]?.body ?? ''), { self: NODE, connected: ['app@10.0.0.2'], state })
    assert.equal(requests[1]?.headers['content-type'], 'application/json')
  })

  it('reads no more than a topology can hold, and nothing that is no document', async (t) => {
    for (const listener of [flooding('{"members":['), says(200, []), says(200, { ttlMs: 'long' })]) {
      const { client } = await setUp(t, [listener])
      await assert.rejects(client.members(), { code: 'bad_answer' })
    }
    const { client } = await setUp(t, [says(200, { revision: 'r1' })])
    await assert.rejects(client.register({ node: NODE, id: 'x' }), { code: 'bad_answer' })
  })
})
