import assert from 'node:assert/strict'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { createFunctionSource } from '../../../agent/strategies/function.ts'
import { openSource } from '../../../agent/strategies/index.ts'
import { defaultPolicy } from '../../../core/policy.ts'
import type { MembersDocument } from '../../../core/wire.ts'
import { serve } from '../../../functions/node.ts'
import { observe } from '../../../functions/resolvers/source.ts'
import { BAD_BODIES, flooding, nowhere, serveLoopback } from '../../contract/loopback.ts'
import { type Opens, sourceContract } from '../../contract/source-contract.ts'
import { createFakeLog } from '../fakes.ts'

const B = 'b@10.0.0.2'
const START = 1_700_000_000_000

function documentOf(changes: Partial<MembersDocument> = {}): MembersDocument {
  return {
    topology: 'web',
    revision: 'r1',
    outcome: 'complete',
    ageMs: 0,
    stale: false,
    members: [{ node: B, status: 'up' }],
    sources: [{ source: 'dns', outcome: 'complete', ageMs: 0 }],
    ...changes,
  }
}

type Handler = (request: IncomingMessage, response: ServerResponse) => void

/** A function that answers as it is told, and a source that asks it on a clock of the test. */
async function setUp(t: TestContext, handler: Handler, options: { token?: string; timeout?: number } = {}) {
  const requests: IncomingMessage[] = []
  let handle = handler
  const server = createServer((request, response) => {
    requests.push(request)
    handle(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const source = createFunctionSource()
  const clock = { now: START }
  const ended = new AbortController()
  const context = { source: 'function', signal: ended.signal, now: () => clock.now, log: createFakeLog(), fetch }
  const given = { url: `http://127.0.0.1:${port}/`, topology: 'web', timeout: 5_000, register: false, ...options }
  return {
    requests,
    clock,
    ended,
    look: () => observe(source, given, context),
    answer: (next: Handler) => void (handle = next),
  }
}

/** Answers as a function does, by the document's own revision and age. */
function answering(changes: Partial<MembersDocument> = {}, headers: Record<string, string> = {}): Handler {
  const document = documentOf(changes)
  return (request, response) => {
    const etag = `W/"${document.revision}"`
    const ages = { Age: Math.floor(document.ageMs / 1_000), 'Rollcall-Age-Ms': document.ageMs }
    const isKnown = request.headers['if-none-match'] === etag
    // Who waits is held: nothing changes.
    if (isKnown && request.url?.includes('?wait=')) return
    response.writeHead(isKnown ? 304 : 200, { 'Content-Type': 'application/json', ETag: etag, ...ages, ...headers })
    response.end(isKnown ? undefined : JSON.stringify(document))
  }
}

const refusing =
  (status: number, code: string, headers: Record<string, string> = {}): Handler =>
  (_request, response) => {
    response.writeHead(status, { 'Content-Type': 'application/problem+json', ...headers })
    response.end(JSON.stringify({ type: 'about:blank', title: code, status, code, detail: code }))
  }

async function errorOf(looked: ReturnType<typeof observe>) {
  const observation = await looked
  assert.equal(observation.outcome, 'failed')
  return observation.outcome === 'failed' ? observation.error : { code: '', message: '' }
}

test('it asks for the topology with its token, and gives the members at the time they were asked for', async (t) => {
  const { look, requests } = await setUp(t, answering({ ageMs: 1_234 }), { token: 'secret' })
  assert.deepEqual(await look(), {
    source: 'function',
    at: START - 1_234,
    outcome: 'complete',
    members: [{ node: B, status: 'up' }],
  })
  assert.equal(requests[0]?.url, '/v1/topologies/web/members')
  assert.equal(requests[0]?.headers.authorization, 'Bearer secret')
})

test('without a token none is sent', async (t) => {
  const { look, requests } = await setUp(t, answering())
  await look()
  assert.equal('authorization' in (requests[0]?.headers ?? {}), false)
})

test('a 304 whose age says that nobody was asked again is the same observation', async (t) => {
  const { look, answer, clock, requests } = await setUp(t, answering({ ageMs: 1_000 }))
  const first = await look()
  clock.now += 2_000
  answer(answering({ ageMs: 3_000 }))
  const second = await look()
  assert.equal(requests[1]?.headers['if-none-match'], 'W/"r1"')
  assert.deepEqual(second, first)
})

test('a 304 whose age says that the source was asked again is the same set at a new time', async (t) => {
  const { look, answer, clock } = await setUp(t, answering({ ageMs: 1_000 }))
  const first = await look()
  clock.now += 5_000
  answer(answering({ ageMs: 500 }))
  assert.deepEqual(await look(), { ...first, at: START + 4_500 })
})

test('the same revision sent in full counts once too', async (t) => {
  const ignoring: Handler = (request, response) => {
    delete request.headers['if-none-match']
    answering({ ageMs: 1_000 })(request, response)
  }
  const { look } = await setUp(t, ignoring)
  assert.deepEqual(await look(), await look())
})

test('another revision of the same age is news: one of several sources was asked again', async (t) => {
  const { look, answer, clock } = await setUp(t, answering({ ageMs: 1_000 }))
  const first = await look()
  clock.now += 1_000
  answer(answering({ revision: 'r2', ageMs: 2_000, members: [] }))
  const second = await look()
  assert.equal(second.at, first.at + 1)
  assert.deepEqual(second.members, [])
})

test('an older answer of another instance keeps its older time', async (t) => {
  const { look, answer, clock } = await setUp(t, answering({ ageMs: 0 }))
  const first = await look()
  clock.now += 1_000
  answer(answering({ revision: 'r0', ageMs: 4_000 }))
  assert.ok((await look()).at < first.at)
})

test('what a cache on the way adds to Age counts', async (t) => {
  const { look } = await setUp(t, answering({ ageMs: 500 }, { Age: '7' }))
  const { at } = await look()
  assert.ok(at <= START - 7_000 && at >= START - 8_000, `${START - at} ms ago`)
})

test('partial stays partial, and says which source is to blame', async (t) => {
  const sources = [{ source: 'dns', outcome: 'partial' as const, ageMs: 0 }]
  const { look } = await setUp(t, answering({ outcome: 'partial', sources }))
  const observation = await look()
  assert.equal(observation.outcome === 'partial' && observation.reason, 'dns is partial')
})

test('a stale answer is failed, with its members, and recovers', async (t) => {
  const sources = [
    { source: 'dns', outcome: 'failed' as const, ageMs: 90_000, error: { code: 'timeout', message: '' } },
  ]
  const { look, answer, clock } = await setUp(t, answering({ stale: true, ageMs: 90_000, sources, revision: 'r2' }))
  const observation = await look()
  assert.equal(observation.outcome, 'failed')
  assert.deepEqual(observation.members, [{ node: B, status: 'up' }])
  assert.match((await errorOf(look())).message, /dns is failed \(timeout\)/)
  clock.now += 5_000
  answer(answering({ ageMs: 100 }))
  const { members } = observation
  assert.deepEqual(await look(), { source: 'function', at: clock.now - 100, outcome: 'complete', members })
})

for (const [status, code, advice] of [
  [401, 'unauthorized', /check token/],
  [403, 'forbidden', /may not do this/],
  [404, 'unknown_topology', /has this topology/],
  [429, 'too_many', /raise interval/],
  [500, 'internal', /check url/],
] as const) {
  test(`a ${status} is failed with the code of the function, or http_${status} where that says nothing, and what to check`, async (t) => {
    const { look } = await setUp(t, refusing(status, code))
    const error = await errorOf(look())
    assert.equal(error.code, code === 'internal' ? 'http_500' : code)
    assert.match(error.message, new RegExp(`got ${status} ${code}`))
    assert.match(error.message, advice)
  })
}

test('Retry-After is handed on, in seconds or as a date', async (t) => {
  const { look, answer } = await setUp(t, refusing(503, 'no_answer_yet', { 'Retry-After': '7' }))
  assert.equal((await errorOf(look())).retryAfterMs, 7_000)
  answer(refusing(503, 'no_answer_yet', { 'Retry-After': new Date(START + 30_000).toUTCString() }))
  assert.equal((await errorOf(look())).retryAfterMs, 30_000)
  answer(refusing(503, 'no_answer_yet', { 'Retry-After': 'soon' }))
  assert.equal((await errorOf(look())).retryAfterMs, undefined)
})

for (const [what, body] of Object.entries({
  'a page': '<html>Log in</html>',
  'an empty list': '[]',
  'a member without a node name': JSON.stringify(documentOf({ members: [{ node: 'b', status: 'up' }] })),
  'half a document': JSON.stringify(documentOf()).slice(0, 40),
})) {
  test(`${what} is failed with bad_answer, and no empty answer`, async (t) => {
    const { look } = await setUp(t, (_request, response) => void response.end(body))
    assert.equal((await errorOf(look())).code, 'bad_answer')
  })
}

test('a body without end is given up', async (t) => {
  const chunk = ' '.repeat(1024 * 1024)
  const { look } = await setUp(t, (_request, response) => {
    const write = () => {
      while (response.write(chunk));
    }
    response.on('drain', write)
    write()
  })
  const error = await errorOf(look())
  assert.equal(error.code, 'bad_answer')
  assert.match(error.message, /got more/)
})

test('an answer that does not come, or does not end, is failed with timeout', async (t) => {
  const { look, answer } = await setUp(t, () => undefined, { timeout: 50 })
  assert.equal((await errorOf(look())).code, 'timeout')
  answer((_request, response) => void response.write('{'))
  assert.equal((await errorOf(look())).code, 'timeout')
})

test('a port where nobody listens is failed with unreachable, and says why', async () => {
  const context = { source: 's', signal: new AbortController().signal, now: () => START, log: createFakeLog(), fetch }
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  const options = { url: `http://127.0.0.1:${port}`, topology: 'web', timeout: 5_000, register: false }
  const error = await errorOf(observe(createFunctionSource(), options, context))
  assert.equal(error.code, 'unreachable')
  assert.match(error.message, /got ECONNREFUSED/)
})

test('the signal ends a look', async (t) => {
  const { promise: asked, resolve } = Promise.withResolvers<void>()
  const { look, ended } = await setUp(t, () => resolve())
  const looked = look()
  await asked
  ended.abort(new Error('enough'))
  assert.equal((await errorOf(looked)).message, 'enough')
})

test('beside a real function it lists what the function lists, and takes the topology by its own name', async (t) => {
  const topology = {
    intervalMs: 60_000,
    policy: { ...defaultPolicy },
    sources: [{ id: 'static', kind: 'static' as const, options: { nodes: [B, 'c@10.0.0.3'] } }],
  }
  const config = { topologies: { web: topology }, agent: { leaveOnExit: false }, log: { level: 'silent' as const } }
  const log = createFakeLog()
  const served = await serve({ config, log, port: 0 })
  t.after(() => served.close())
  const opened = await openSource(
    { id: 'f', kind: 'function', options: { url: served.url, timeout: 5_000 } },
    { topology: 'web', intervalMs: 5_000, self: B, log },
  )
  const { signal } = new AbortController()
  const first = await opened.look(signal)
  assert.equal(first.outcome, 'complete')
  assert.deepEqual(
    first.members?.map(({ node }) => node),
    [B, 'c@10.0.0.3'],
  )
  assert.deepEqual(await opened.look(signal), first)
})

/** A world in which the function handles requests so. */
const world =
  (handler: Handler, { nodes, code }: { nodes?: string[]; code?: string } = {}): Opens =>
  async (t) => {
    const { url, asked } = await serveLoopback(t, handler)
    const options = { url, topology: 'web', timeout: '10s' }
    return { options, asked, ...(nodes !== undefined && { nodes }), ...(code !== undefined && { code }) }
  }
// A connection that is kept for the next request would pass for one that the source left open.
const answeringMembers = (...members: unknown[]) =>
  answering({ members: members as MembersDocument['members'] }, { Connection: 'close' })
const [UP, OTHER] = [
  { node: B, status: 'up' },
  { node: 'c@10.0.0.3', status: 'up' },
]

sourceContract({
  name: 'function',
  kind: 'function',
  load: () => createFunctionSource(),
  ways: ['look', 'watch'],
  self: B,
  good: {
    url: 'https://discovery.example.com',
    topology: 'web',
    token: 'x',
    register: { ttl: '1m', meta: { zone: 'a' } },
    timeout: '5s',
    name: 'far',
  },
  bad: { url: 'discovery.example.com', topology: 5, token: true, register: { ttl: '1ms' }, timeout: 'soon' },
  lists: world(answeringMembers(OTHER, UP, OTHER), { nodes: [B, 'c@10.0.0.3'] }),
  nobody: world(answeringMembers()),
  flawed: {
    'a member without a host': world(answeringMembers(UP, { node: 'c@', status: 'up' }), { nodes: [B] }),
    'a member of another status': world(answeringMembers(UP, { node: 'c@10.0.0.3', status: 'gone' }), { nodes: [B] }),
    'a member of a wrong type': world(answeringMembers(null, UP, 7, [[]]), { nodes: [B] }),
  },
  failing: {
    ...Object.fromEntries(
      [301, 401, 403, 404, 429, 500, 503].map((status) => [
        `a ${status}`,
        world(refusing(status, 'internal'), { code: `http_${status}` }),
      ]),
    ),
    ...Object.fromEntries(
      Object.entries(BAD_BODIES).map(([what, body]) => [
        what,
        world((_request, response) => void response.end(body), { code: 'bad_answer' }),
      ]),
    ),
    'a 304 though nothing is known': world((_request, response) => void response.writeHead(304).end(), {
      code: 'http_304',
    }),
    'a connection that is cut': world((request) => void request.socket.destroy(), { code: 'unreachable' }),
    'a body that is cut': world(
      (_request, response) =>
        void response.writeHead(200, { 'Content-Length': 99 }).write('{', () => response.destroy()),
      { code: 'unreachable' },
    ),
    'a port where nobody listens': async () => ({ options: { url: await nowhere() }, code: 'unreachable' }),
    'no answer in time': async (t) => {
      const { url } = await serveLoopback(t, () => undefined)
      return { options: { url, timeout: '50ms' }, code: 'timeout' }
    },
  },
  hangs: world(() => undefined),
  floods: world(flooding('{"members":['), { code: 'bad_answer' }),
})
