import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { findNamespace, findTarget, type Surroundings } from '../../../agent/kubernetes/surroundings.ts'
import { openSource } from '../../../agent/strategies/index.ts'
import { createKubernetesSource } from '../../../agent/strategies/kubernetes.ts'
import type { Observation } from '../../../core/member.ts'
import { plan } from '../../../core/plan.ts'
import { defaultPolicy } from '../../../core/policy.ts'
import { kubernetesOptionsSchema } from '../../../core/sources/kubernetes.ts'
import type { State } from '../../../core/state.ts'
import { observe, type SourceContext } from '../../../functions/resolvers/source.ts'
import { BAD_BODIES, flooding, nowhere as closedPort } from '../../contract/loopback.ts'
import { sourceContract } from '../../contract/source-contract.ts'
import { missingPrograms } from '../../peers/programs.ts'
import { createFakeLog } from '../fakes.ts'
import { createManualClock, type ManualClock } from '../manual-clock.ts'
import {
  type ApiObject,
  type Fault,
  type KubernetesServerOptions,
  refuse,
  startKubernetesServer,
} from './kubernetes-server.ts'

const SELF = 'app@10.0.0.1'
const INTERVAL_MS = 5_000
// Of a page, and of watches that last 5 s and 60 s.
const DEADLINES = [15_000, 70_000]
const nowhere: Surroundings = { env: {}, serviceAccount: '/nonexistent' }

/** A slice whose endpoints have these last bytes of 10.0.0.0. */
function slice(name: string, hosts: readonly number[], conditions: object = { ready: true }): ApiObject {
  return {
    metadata: { name, namespace: 'web', labels: { 'kubernetes.io/service-name': 'app' } },
    addressType: 'IPv4',
    endpoints: hosts.map((host) => endpointOf(host, `${host}`, conditions)),
  }
}

function endpointOf(host: number, pod: string, conditions: object = { ready: true }): object {
  const targetRef = { kind: 'Pod', namespace: 'web', name: `app-${pod}`, uid: `uid-${pod}` }
  return { addresses: [`10.0.${host >> 8}.${host & 255}`], conditions, targetRef }
}

/** An observation in one line: the outcome, then the last bytes of the hosts, or the code of the error. */
function outline(observation: Observation): string {
  const said =
    observation.outcome === 'failed'
      ? [observation.error.code]
      : observation.members.map(
          ({ node, status }) => `${node.replace(/^app@10\.0\.0\./, '')}${status === 'up' ? '' : ' leaving'}`,
        )
  return [observation.outcome, ...said].join(' ')
}

interface SetUp {
  readonly server?: KubernetesServerOptions
  readonly options?: Record<string, unknown>
  readonly surroundings?: Surroundings
  readonly random?: () => number
  readonly intervalMs?: number
}

/** A server with two nodes in one slice, and a source that asks it, both on a clock of the test. */
async function setUp(
  t: TestContext,
  { server: wanted, options, surroundings = nowhere, random, intervalMs = INTERVAL_MS }: SetUp = {},
) {
  const clock = createManualClock(random && { random })
  const server = await startKubernetesServer({ clock, ...wanted })
  t.after(() => server.close())
  if ((wanted?.resource ?? 'endpointslices') === 'endpointslices') server.put(slice('app-a', [1, 2]))
  const pauses = createPauses(clock)
  const source = createKubernetesSource({ clock: pauses.clock, surroundings })
  const ended = new AbortController()
  t.after(() => ended.abort())
  const log = createFakeLog()
  const given = kubernetesOptionsSchema.parse({ service: 'app', namespace: 'web', server: server.url, ...options })
  const context: SourceContext = {
    source: 'kubernetes',
    self: SELF,
    signal: ended.signal,
    now: clock.now,
    intervalMs,
    log,
    fetch,
  }
  return {
    server,
    clock,
    pass: () => pauses.pass(),
    ended,
    log,
    look: () => observe(source, given, context),
    watch: () => listen(source.watch?.(given, context) ?? assert.fail()),
  }
}

/** A clock that tells the pauses of a source from its deadlines, so that a test passes the former and no more. */
function createPauses(clock: ManualClock) {
  const begun: number[] = []
  let news = Promise.withResolvers<void>()
  return {
    clock: {
      ...clock,
      sleep(ms: number, signal: AbortSignal) {
        const slept = clock.sleep(ms, signal)
        if (ms > 0 && !DEADLINES.includes(ms)) begun.push(ms)
        news.resolve()
        return slept
      },
    },
    /** Waits until the source waits, lets it end, and gives how long it was, in ms. */
    async pass(): Promise<number> {
      for (;;) {
        const ms = begun.shift()
        if (ms !== undefined) {
          await clock.advance(ms)
          return ms
        }
        await news.promise
        news = Promise.withResolvers()
      }
    },
  }
}

/** Reads a stream, and lets a test wait for what it says. */
function listen(stream: AsyncIterable<Observation>) {
  const told: Observation[] = []
  let news = Promise.withResolvers<void>()
  let from = 0
  const done = (async () => {
    for await (const observation of stream) {
      told.push(observation)
      news.resolve()
    }
    news.resolve()
  })()
  /** The next observation that says this, whatever comes before it; those after it are for the next call. */
  async function hears(line: string | RegExp): Promise<Observation> {
    for (;;) {
      for (const observation of told.slice(from)) {
        from++
        const said = outline(observation)
        if (typeof line === 'string' ? said === line : line.test(said)) return observation
      }
      await news.promise
      news = Promise.withResolvers()
    }
  }

  return { told, done, hears, forget: () => void (from = told.length = 0) }
}

async function errorOf(looked: Promise<Observation> | Observation) {
  const observation = await looked
  assert.equal(observation.outcome, 'failed', JSON.stringify(observation).slice(0, 300))
  return observation.outcome === 'failed' ? observation.error : assert.fail()
}

async function folder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'rollcall-kubernetes-'))
  t.after(() => rm(path, { recursive: true }))
  return path
}

const answering =
  (body: string, headers: Record<string, string> = { 'Content-Type': 'application/json' }): Fault =>
  (_request, response) =>
    void response.writeHead(200, headers).end(body)
const refusing =
  (status: number, message = 'no', headers: Record<string, string> = {}): Fault =>
  (_request, response) =>
    refuse(response, status, message, headers)
const silence: Fault = () => undefined
const endless: Fault = (request, response) => {
  response.setHeader('Content-Type', 'application/json')
  flooding('"')(request, response)
}

const limits = { timeout: 30_000 }

const listOf = (...items: unknown[]) =>
  JSON.stringify({ kind: 'EndpointSliceList', metadata: { resourceVersion: '1001' }, items })

/** A world with a server that says `fault` first, or holds these slices. */
const world =
  ({ slices = [], fault, ...rest }: { slices?: ApiObject[]; fault?: Fault; nodes?: string[]; code?: string }) =>
  async (t: TestContext) => {
    const server = await startKubernetesServer()
    t.after(() => server.close())
    for (const each of slices) server.put(each)
    if (fault !== undefined) server.fault(fault)
    return { options: { service: 'app', namespace: 'web', server: server.url }, asked: server.requests(1), ...rest }
  }

sourceContract({
  name: 'kubernetes',
  kind: 'kubernetes',
  load: () => createKubernetesSource(),
  ways: ['look', 'watch'],
  self: SELF,
  good: { service: 'app', namespace: 'web', server: 'https://10.0.0.1:6443', tokenFile: '/token', caFile: '/ca' },
  bad: {
    resource: 'nodes',
    selector: '',
    service: 'App',
    namespace: 'kube/system',
    basename: '',
    host: 'name',
    notReady: true,
    clusterDomain: '',
    server: '10.0.0.1',
    tokenFile: 5,
    caFile: '',
    watch: 'no',
  },
  lists: world({
    slices: [slice('app-a', [1, 2]), slice('app-b', [2, 3])],
    nodes: [SELF, 'app@10.0.0.2', 'app@10.0.0.3'],
  }),
  nobody: world({}),
  flawed: {
    'an endpoint without an address': world({
      slices: [slice('app-a', [1]), { ...slice('app-b', []), endpoints: [{ addresses: [] }] }],
      nodes: [SELF],
    }),
    'an address with a NUL byte': world({
      slices: [slice('app-a', [1]), { ...slice('app-b', []), endpoints: [{ addresses: ['10.0.0.2\0'] }] }],
      nodes: [SELF],
    }),
    'a slice of another shape': world({
      slices: [slice('app-a', [1]), { ...slice('app-b', []), endpoints: 5 }],
      nodes: [SELF],
    }),
    'an object without a name': world({
      fault: answering(listOf(slice('app-a', [1]), { endpoints: [] })),
      nodes: [SELF],
    }),
    'two pods under one name': world({
      slices: [slice('app-a', [1]), { ...slice('app-b', []), endpoints: [endpointOf(1, 'another')] }],
      nodes: [SELF],
    }),
  },
  failing: {
    ...Object.fromEntries(
      Object.entries(BAD_BODIES).map(([what, body]) => [what, world({ fault: answering(body), code: 'bad_answer' })]),
    ),
    'a 403': world({ fault: refusing(403), code: 'http_403' }),
    'a 500': world({ fault: refusing(500), code: 'http_500' }),
    'a closed port': async () => ({
      options: { service: 'app', namespace: 'web', server: await closedPort() },
      code: 'unreachable',
    }),
    'a folder without a token': () => ({
      options: { service: 'app', namespace: 'web', server: 'https://127.0.0.1:1' },
      code: 'token_unreadable',
    }),
  },
  hangs: world({ fault: silence }),
  floods: world({ fault: endless, code: 'bad_answer' }),
})

describe('a look', limits, () => {
  test('lists the endpoints of the service, as of when it asked', async (t) => {
    const { look, server, clock } = await setUp(t)
    assert.deepEqual(await look(), {
      source: 'kubernetes',
      at: clock.now(),
      outcome: 'complete',
      members: [
        { node: 'app@10.0.0.1', status: 'up', id: 'uid-1' },
        { node: 'app@10.0.0.2', status: 'up', id: 'uid-2' },
      ],
    })
    const query = { labelSelector: 'kubernetes.io/service-name=app', limit: '500' }
    assert.deepEqual(server.asked, [{ verb: 'list', path: server.collection, query, token: undefined }])
  })

  test('asks the cache of the API server when it is not to watch', async (t) => {
    const { look, server } = await setUp(t, { options: { watch: false } })
    assert.equal(outline(await look()), 'complete 1 2')
    assert.equal(server.asked[0]?.query.resourceVersion, '0')
  })

  test('reads a long list page by page', async (t) => {
    const { look, server } = await setUp(t)
    for (let index = 0; index < 1_100; index++) server.put(slice(`app-${index}`, [3]))
    assert.equal(outline(await look()), 'complete 1 2 3')
    assert.deepEqual(
      server.asked.map(({ query }) => [query.limit, query.continue !== undefined]),
      [
        ['500', false],
        ['500', true],
        ['500', true],
      ],
    )
  })

  test('asks for a list in one piece when it grows too old between two pages', async (t) => {
    const { look, server } = await setUp(t)
    for (let index = 0; index < 600; index++) server.put(slice(`app-${index}`, [3]))
    const page = server.requests(1)
    const looked = look()
    await page
    server.compact()
    assert.equal(outline(await looked), 'complete 1 2 3')
    assert.deepEqual(
      server.asked.map(({ query }) => [query.limit, query.continue !== undefined]),
      [
        ['500', false],
        ['500', true],
        [undefined, false],
      ],
    )
  })

  test('gives up a list that has no last page', async (t) => {
    const { look, server } = await setUp(t)
    const metadata = { resourceVersion: '1', continue: 'again' }
    const page = JSON.stringify({ kind: 'EndpointSliceList', metadata, items: [] })
    server.fault(...Array.from({ length: 300 }, () => answering(page)))
    assert.equal((await errorOf(look())).code, 'bad_answer')
    assert.equal(server.asked.length, 200)
  })

  test('lists 5,000 endpoints in 10 slices', async (t) => {
    const { look, server } = await setUp(t)
    server.delete('app-a')
    for (let part = 0; part < 10; part++) {
      server.put(
        slice(
          `app-${part}`,
          Array.from({ length: 500 }, (_, index) => part * 500 + index),
        ),
      )
    }
    const { outcome, members = [] } = await look()
    assert.deepEqual(
      [outcome, members.length, new Set(members.map(({ node }) => node)).size],
      ['complete', 5_000, 5_000],
    )
  })

  test('takes no more than 50,000 endpoints', async (t) => {
    const { look, server } = await setUp(t)
    for (let part = 0; part < 51; part++) {
      server.put(
        slice(
          `app-${part}`,
          Array.from({ length: 1_000 }, (_, index) => part * 1_000 + index),
        ),
      )
    }
    assert.equal((await errorOf(look())).code, 'too_many')
  })

  test('lists Endpoints by the name of the service', async (t) => {
    const { look, server } = await setUp(t, { server: { resource: 'endpoints' }, options: { resource: 'endpoints' } })
    server.put({ metadata: { name: 'other' }, subsets: [{ addresses: [{ ip: '10.0.0.9' }] }] })
    server.put({
      metadata: { name: 'app' },
      subsets: [{ addresses: [{ ip: '10.0.0.1' }], notReadyAddresses: [{ ip: '10.0.0.2' }] }],
    })
    assert.equal(outline(await look()), 'complete 1 2')
    assert.deepEqual(server.asked[0]?.query, { fieldSelector: 'metadata.name=app', limit: '500' })
  })

  test('lists Pods by their labels', async (t) => {
    const options = { resource: 'pods', service: undefined, selector: 'app=web' }
    const { look, server } = await setUp(t, { server: { resource: 'pods' }, options })
    const podOf = (name: string, app: string) => ({
      metadata: { name, labels: { app } },
      status: { podIP: '10.0.0.2' },
    })
    server.put(podOf('a', 'web'))
    server.put(podOf('b', 'db'))
    assert.equal(outline(await look()), 'complete 2')
    assert.equal(server.asked[0]?.path, '/api/v1/namespaces/web/pods')
  })

  test('fails with timeout when nobody answers', async (t) => {
    const { look, server, clock } = await setUp(t)
    server.fault(silence)
    const looked = look()
    await server.requests(1)
    await clock.advance(15_000)
    assert.equal((await errorOf(looked)).code, 'timeout')
  })

  test('fails with unreachable where nobody listens', async (t) => {
    const { look, server } = await setUp(t)
    server.fault((request) => void request.socket.destroy())
    const { code, message } = await errorOf(look())
    assert.equal(code, 'unreachable')
    assert.match(message, /^\[kubernetes\] expected an answer of http.+, got ECONNRESET: check server/)
  })

  test('ends with its signal, and leaves nothing open', async (t) => {
    const { look, server, ended, clock } = await setUp(t)
    server.fault(silence)
    const looked = look()
    await server.requests(1)
    ended.abort(new Error('enough'))
    assert.equal((await errorOf(looked)).message, 'enough')
    assert.equal(clock.sleeping(), 0)
  })
})

describe('a refusal', limits, () => {
  const cases: [number, string, RegExp][] = [
    [400, 'http_400', /check selector/],
    [401, 'http_401', /the token is not accepted: check tokenFile/],
    [403, 'http_403', /the Role lacks the verb list on endpointslices\.discovery\.k8s\.io in namespace web/],
    [404, 'http_404', /no \/apis\/discovery\.k8s\.io\/v1/],
    [429, 'http_429', /raise interval/],
    [500, 'http_500', /not well/],
    [503, 'http_503', /not well/],
    [302, 'http_302', /check url/],
  ]
  for (const [status, code, advice] of cases) {
    test(`of ${status} is ${code}, quotes the server and tells what to do`, async (t) => {
      const { look, server } = await setUp(t)
      server.fault(refusing(status, 'what the server says'))
      const error = await errorOf(look())
      assert.equal(error.code, code)
      assert.match(error.message, /^\[kubernetes\] expected 200 from http.+ got \d+ "what the server says"/)
      assert.match(error.message, advice)
    })
  }

  test('of 403 names the verb and the resource that the Role lacks', async (t) => {
    const { watch, server } = await setUp(t)
    server.forbid('watch')
    const { hears } = watch()
    const { message } = await errorOf(await hears('failed http_403'))
    assert.match(message, /lacks the verb watch on endpointslices\.discovery\.k8s\.io in namespace web/)
    assert.match(message, /cannot watch resource/)
  })

  test('that asks to be left alone is, in seconds or until a date', async (t) => {
    const { look, server, clock } = await setUp(t)
    server.fault(refusing(429, 'busy', { 'Retry-After': '7' }))
    assert.equal((await errorOf(look())).retryAfterMs, 7_000)
    server.fault(refusing(503, 'busy', { 'Retry-After': new Date(clock.now() + 9_000).toUTCString() }))
    assert.equal((await errorOf(look())).retryAfterMs, 9_000)
  })

  test('is not followed where it leads elsewhere: the token would go along', async (t) => {
    const { look, server } = await setUp(t)
    server.fault((_request, response) => void response.writeHead(307, { Location: server.url }).end())
    assert.equal((await errorOf(look())).code, 'http_307')
    assert.equal(server.asked.length, 1)
  })
})

describe('a watch', limits, () => {
  test('lists, and tells what changes', async (t) => {
    const { watch, server } = await setUp(t)
    const { hears } = watch()
    await hears('complete 1 2')
    await server.requests(2)
    server.put(slice('app-b', [3]))
    await hears('complete 1 2 3')
    server.put(slice('app-b', [4]))
    await hears('complete 1 2 4')
    server.put(slice('app-b', [4], { ready: false, terminating: true }))
    await hears('complete 1 2 4 leaving')
    server.delete('app-b')
    await hears('complete 1 2')
  })

  test('begins where the list ended, and asks for bookmarks and for an end after an interval', async (t) => {
    const { watch, server } = await setUp(t)
    const version = String(server.version())
    const { hears } = watch()
    await hears('complete 1 2')
    await server.requests(2)
    assert.deepEqual(server.asked[1]?.query, {
      labelSelector: 'kubernetes.io/service-name=app',
      watch: 'true',
      allowWatchBookmarks: 'true',
      resourceVersion: version,
      timeoutSeconds: '5',
    })
  })

  test('says that its set is true still at each bookmark, and goes on from there', async (t) => {
    const { watch, server, clock } = await setUp(t)
    const { hears } = watch()
    const listed = await hears('complete 1 2')
    await server.requests(2)
    await hears('complete 1 2')
    server.put({ ...slice('other', []), metadata: { name: 'other', labels: {} } })
    await clock.advance(3_000)
    const marked = await hears('complete 1 2')
    assert.equal(marked.at - listed.at, 3_000)
    assert.deepEqual(marked.members, listed.members)
    await clock.advance(2_000)
    await server.requests(3)
    assert.deepEqual(
      [server.asked[2]?.verb, server.asked[2]?.query.resourceVersion],
      ['watch', String(server.version())],
    )
    const renewed = await hears('complete 1 2')
    assert.equal(renewed.at - listed.at, 5_000)
  })

  test('lasts 0.8 to 1.0 of the interval, by chance', async (t) => {
    const { watch, server } = await setUp(t, { random: () => 0, intervalMs: 60_000 })
    watch()
    await server.requests(2)
    assert.equal(server.asked[1]?.query.timeoutSeconds, '48')
  })

  test('never lasts longer than four minutes', async (t) => {
    const { watch, server } = await setUp(t, { intervalMs: 3_600_000 })
    watch()
    await server.requests(2)
    assert.equal(server.asked[1]?.query.timeoutSeconds, '240')
  })

  test('is listed anew when the API server has forgotten where it was', async (t) => {
    const { watch, server, clock, pass } = await setUp(t)
    const { hears, told } = watch()
    await hears('complete 1 2')
    await server.requests(2)
    await clock.advance(3_000)
    server.compact()
    server.put(slice('app-b', [3]))
    server.compact()
    server.cut()
    await server.requests(3)
    // The third is the watch that is refused with 410.
    await pass()
    await server.requests(4)
    assert.deepEqual(
      server.asked.slice(2, 4).map(({ verb }) => verb),
      ['watch', 'list'],
    )
    await hears('complete 1 2 3')
    assert.equal(server.asked[3]?.query.resourceVersion, undefined)
    assert.ok(told.every(({ outcome }) => outcome === 'complete'))
  })

  test('is listed anew when an event says that it is too old', async (t) => {
    const { watch, server, pass } = await setUp(t)
    const { hears, told } = watch()
    await hears('complete 1 2')
    await server.requests(2)
    await hears('complete 1 2')
    server.say(`${JSON.stringify({ type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired' } })}\n`)
    await pass()
    await server.requests(3)
    assert.equal(server.asked[2]?.verb, 'list')
    await hears('complete 1 2')
    assert.ok(told.every(({ outcome }) => outcome === 'complete'))
  })

  test('fails when an event says that something else is wrong', async (t) => {
    const { watch, server } = await setUp(t)
    const { hears } = watch()
    await server.requests(2)
    await hears('complete 1 2')
    server.say(`${JSON.stringify({ type: 'ERROR', object: { kind: 'Status', code: 500, message: 'etcd' } })}\n`)
    assert.match((await errorOf(await hears(/^failed/))).message, /got an error 500: "etcd"/)
  })

  test('that goes silent is noticed, listed anew, and said nowhere to be an answer', async (t) => {
    const { watch, server, clock, log, pass } = await setUp(t)
    const dead: Fault = (_request, response) => {
      response.writeHead(200, { 'Content-Type': 'application/json' }).flushHeaders()
    }
    server.fault((request, response) => {
      server.fault(dead)
      answering(JSON.stringify({ kind: 'EndpointSliceList', metadata: { resourceVersion: '1001' }, items: [] }))(
        request,
        response,
      )
    })
    const { hears, told } = watch()
    await server.requests(2)
    await hears('complete')
    await hears('complete')
    const before = told.length
    await clock.advance(14_000)
    assert.equal(told.length, before)
    await clock.advance(1_000)
    await pass()
    await server.requests(3)
    assert.equal(server.asked[2]?.verb, 'list')
    await hears('complete 1 2')
    assert.ok(
      log.lines.some((line) => line.includes('went silent')),
      log.lines.join('\n'),
    )
  })

  test('that is cut in the middle of a line goes on where it was', async (t) => {
    const { watch, server, pass } = await setUp(t)
    const { hears, told } = watch()
    await hears('complete 1 2')
    await server.requests(2)
    server.put(slice('app-b', [3]))
    await hears('complete 1 2 3')
    const version = String(server.version())
    server.say('{"type":"ADDED","object":{"metadata":{"na')
    server.cut()
    server.put(slice('app-c', [4]))
    await pass()
    await server.requests(3)
    assert.deepEqual([server.asked[2]?.verb, server.asked[2]?.query.resourceVersion], ['watch', version])
    await hears('complete 1 2 3 4')
    assert.ok(told.every(({ outcome }) => outcome === 'complete'))
  })

  test('whose idle connection is closed on the way goes on', async (t) => {
    const { watch, server, clock } = await setUp(t, { intervalMs: 60_000 })
    const { hears, told } = watch()
    await server.requests(2)
    await hears('complete 1 2')
    await clock.advance(30_000)
    server.cut()
    server.put(slice('app-b', [3]))
    await server.requests(3)
    await hears('complete 1 2 3')
    assert.equal(server.asked[2]?.verb, 'watch')
    assert.ok(told.every(({ outcome }) => outcome === 'complete'))
  })

  test('that ends at once, each time, fails, and is begun anew after waits that grow', async (t) => {
    const { watch, server, pass } = await setUp(t)
    const atOnce: Fault = (_request, response) =>
      void response.writeHead(200, { 'Content-Type': 'application/json' }).end()
    const list = JSON.stringify({
      kind: 'EndpointSliceList',
      metadata: { resourceVersion: '1001' },
      items: [slice('a', [7])],
    })
    for (let round = 0; round < 4; round++) server.fault(answering(list), atOnce)
    const { hears } = watch()
    const waits: number[] = []
    for (let round = 0; round < 4; round++) {
      await hears('failed watch_ended')
      waits.push(await pass())
    }
    assert.deepEqual(waits, [2_000, 4_000, 8_000, 16_000])
    await hears('complete 1 2')
  })

  test('fails while the list does, waits longer each time and as long as it is asked to, and recovers', async (t) => {
    const { watch, server, pass } = await setUp(t)
    server.fault(refusing(500), refusing(500), refusing(429, 'busy', { 'Retry-After': '20' }), refusing(500))
    const { hears } = watch()
    const waits: number[] = []
    for (let count = 0; count < 4; count++) {
      await hears(/^failed/)
      waits.push(await pass())
    }
    assert.deepEqual(waits, [2_000, 4_000, 20_000, 16_000])
    await hears('complete 1 2')
  })

  test('gives the newest set alone to who takes it slowly', async (t) => {
    const { clock, server, ended, log } = await setUp(t)
    const source = createKubernetesSource({ clock, surroundings: nowhere })
    const options = kubernetesOptionsSchema.parse({ service: 'app', namespace: 'web', server: server.url })
    const context = {
      source: 'k',
      self: SELF,
      signal: ended.signal,
      now: clock.now,
      intervalMs: INTERVAL_MS,
      log,
      fetch,
    }
    const stream = source.watch?.(options, context)[Symbol.asyncIterator]()
    assert.ok(stream)
    await stream.next()
    await server.requests(2)
    for (let count = 0; count < 100; count++) server.put(slice('app-b', [3 + (count % 2)]))
    server.put(slice('app-c', [9]))
    // What the source has read by now is behind the answer of another request.
    const other = await observe(source, options, context)
    assert.equal(outline(other), 'complete 1 2 4 9')
    const { value } = await stream.next()
    assert.equal(outline(value as Observation), 'complete 1 2 4 9')
    let isTold = false
    const next = stream.next().then(({ done }) => {
      isTold = true
      return done
    })
    await observe(source, options, context)
    assert.equal(isTold, false)
    ended.abort()
    assert.equal(await next, true)
  })

  test('says it when nobody matches', async (t) => {
    const { watch, server, log } = await setUp(t, { options: { service: 'typo' } })
    const { hears } = watch()
    await hears('complete')
    await server.requests(2)
    assert.ok(
      log.lines.some((line) => /^warn .*service typo in namespace web, got none/.test(line)),
      log.lines.join('\n'),
    )
  })

  test('ends with its signal wherever it is, and leaves nothing open', async (t) => {
    const waits: [string, (entered: Awaited<ReturnType<typeof setUp>>) => Promise<unknown>][] = [
      ['in a list', async ({ server }) => (server.fault(silence), await server.requests(1))],
      [
        'in the head of a watch',
        async ({ server }) => {
          server.fault((request, response) => {
            server.fault(silence)
            answering(JSON.stringify({ kind: 'EndpointSliceList', metadata: { resourceVersion: '1' }, items: null }))(
              request,
              response,
            )
          })
          await server.requests(2)
        },
      ],
      ['in a watch', async ({ server }) => await server.requests(2)],
    ]
    for (const [, wait] of waits) {
      const entered = await setUp(t)
      const waited = wait(entered)
      const { done } = entered.watch()
      await waited
      entered.ended.abort(new Error('enough'))
      await done
      // The server's own timer goes with the connection.
      await entered.server.idle()
      assert.equal(entered.clock.sleeping(), 0)
    }
  })

  test('ends when it is read no more', async (t) => {
    const { server, clock } = await setUp(t)
    const source = createKubernetesSource({ clock, surroundings: nowhere })
    const options = kubernetesOptionsSchema.parse({ service: 'app', namespace: 'web', server: server.url })
    const { signal } = new AbortController()
    const context = { source: 'k', self: SELF, signal, now: clock.now, log: createFakeLog(), fetch }
    for await (const _observation of source.watch?.(options, context) ?? []) break
    assert.equal(clock.sleeping(), 0)
  })

  test('takes no more memory after 10,000 events than before', async (t) => {
    const { watch, server } = await setUp(t)
    const { hears, forget } = watch()
    await hears('complete 1 2')
    await server.requests(2)
    const hosts = Array.from({ length: 20 }, (_, index) => index)
    /** Sends as many changes, and waits until the last one is told. */
    async function change(count: number): Promise<void> {
      for (let sent = 0; sent < count; sent += 50) {
        for (let index = 0; index < 49; index++) server.put(slice(`app-${index % 5}`, hosts.slice(index % 3)))
        const mark = 100 + ((sent / 50) % 100)
        server.put(slice('mark', [mark]))
        await hears(new RegExp(` ${mark}( |$)`))
        // Neither what the server remembers nor what the test heard is the source's.
        server.compact()
        forget()
      }
    }
    await change(2_000)
    const before = heapUsed()
    await change(10_000)
    const growth = heapUsed() - before
    // A leak of one event each would be some 40 MB.
    assert.ok(growth < 4 * 1024 * 1024, `grew by ${Math.round(growth / 1024)} KiB`)
  })
})

const bad: Record<string, string> = {
  'a page of HTML': '<html><body>Log in</body></html>',
  'no text': '',
  'half a document': '{"kind":"EndpointSliceList","metadata":{"resourceVersion":"1"},"items":[{"meta',
  'a NUL byte': '{"kind":"EndpointSliceList\0"}',
  'a list that is deep': '['.repeat(1_000_000),
  'a deep object in a list': `{"kind":"EndpointSliceList","metadata":{"resourceVersion":"1"},"items":[${'{"a":'.repeat(100)}1${'}'.repeat(100)}]}`,
  'another kind': '{"kind":"NodeList","metadata":{"resourceVersion":"1"},"items":[]}',
  'a Status that says that all is well': '{"kind":"Status","status":"Success","metadata":{}}',
  'no items': '{"kind":"EndpointSliceList","metadata":{"resourceVersion":"1"}}',
  'items that are a text': '{"kind":"EndpointSliceList","metadata":{"resourceVersion":"1"},"items":"none"}',
  'a resourceVersion that is a number': '{"kind":"EndpointSliceList","metadata":{"resourceVersion":1},"items":[]}',
  'an empty list': '[]',
}

describe('what is no answer', limits, () => {
  for (const [what, body] of Object.entries(bad)) {
    test(`is failed with bad_answer: ${what}`, async (t) => {
      const { look, server } = await setUp(t)
      server.fault(answering(body))
      assert.equal((await errorOf(look())).code, 'bad_answer')
    })
  }

  test('is failed with bad_answer: JSON by another name', async (t) => {
    const { look, server } = await setUp(t)
    server.fault(answering('{}', { 'Content-Type': 'text/html' }))
    const { code, message } = await errorOf(look())
    assert.equal(code, 'bad_answer')
    assert.match(message, /got text\/html/)
  })

  for (const [what, head] of Object.entries({
    'a status that there is not': 'HTTP/1.1 999 Odd\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}',
    'an answer without a body': 'HTTP/1.1 204 No Content\r\n\r\n',
    'another protocol': 'SSH-2.0-OpenSSH_9.2\r\n',
    'headers without end': `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(100_000)}`,
  })) {
    test(`is failed, and ends no process: ${what}`, async (t) => {
      const { look, watch, server } = await setUp(t)
      const odd: Fault = (request) => void request.socket.end(head)
      server.fault(odd)
      assert.match((await errorOf(look())).code, /^(bad_answer|unreachable|http_204)$/)
      server.fault((request, response) => {
        server.fault(odd)
        answering(listOf(slice('app-a', [1])))(request, response)
      })
      await watch().hears(/^failed (bad_answer|unreachable|http_204)$/)
    })
  }

  test('is failed when it has no end', async (t) => {
    const { look, server } = await setUp(t)
    server.fault(endless)
    assert.equal((await errorOf(look())).code, 'bad_answer')
  })

  test('fails a watch, and its connection is closed, when it is a page without end', async (t) => {
    const { watch, server } = await setUp(t)
    const { promise: closed, resolve: close } = Promise.withResolvers<void>()
    server.fault((request, response) => {
      server.fault((asked, page) => {
        asked.socket.once('close', close)
        page.writeHead(200, { 'Content-Type': 'text/html' })
        flooding()(asked, page)
      })
      answering(listOf(slice('app-a', [1])))(request, response)
    })
    await watch().hears(/^failed bad_answer$/)
    await closed
  })

  for (const [what, line] of Object.entries({
    HTML: '<html>\n',
    'another type of event': '{"type":"PATCHED","object":{}}\n',
    'an object without a name': '{"type":"ADDED","object":{"metadata":{"resourceVersion":"9"}}}\n',
    'an event that is deep': `{"type":"ADDED","object":${'['.repeat(100)}}\n`,
    'a line without an object': 'null\n',
    'a NUL byte': '\0\n',
  })) {
    test(`fails a watch, which is begun anew: ${what}`, async (t) => {
      const { watch, server, pass } = await setUp(t)
      const { hears } = watch()
      await server.requests(2)
      await hears('complete 1 2')
      server.say(line)
      await hears('failed bad_answer')
      await pass()
      await server.requests(3)
      assert.equal(server.asked[2]?.verb, 'list')
      await hears('complete 1 2')
    })
  }

  test('fails a watch: a line without end', async (t) => {
    const { watch, server } = await setUp(t)
    server.fault((request, response) => {
      server.fault(endless)
      answering('{"kind":"EndpointSliceList","metadata":{"resourceVersion":"1"},"items":[]}')(request, response)
    })
    await watch().hears('failed bad_answer')
  })

  test('is skipped where it is one entry of many: the answer is partial, and says which', async (t) => {
    const { look, server } = await setUp(t)
    server.put({ ...slice('app-b', [3]), endpoints: [{ addresses: ['\0'] }, 5, { addresses: ['10.0.0.4'] }] })
    server.put({ ...slice('app-c', []), endpoints: 'none' })
    const observation = await look()
    assert.equal(outline(observation), 'partial 1 2 4')
    assert.match(
      observation.outcome === 'partial' ? observation.reason : '',
      /"app-b": an address has "\\u0000", which is no IP/,
    )
  })
})

describe('the credentials', limits, () => {
  /** The folder that a pod has, with this token in it. */
  async function serviceAccount(t: TestContext, files: Record<string, string>): Promise<string> {
    const path = await folder(t)
    for (const [name, content] of Object.entries(files)) await writeFile(join(path, name), content)
    return path
  }

  test('are read again at each use: a token that rotates is taken up', async (t) => {
    const path = await serviceAccount(t, { token: 'old\n' })
    const { watch, server, pass } = await setUp(t, { options: { tokenFile: join(path, 'token') } })
    server.accept('old')
    const { hears } = watch()
    await hears('complete 1 2')
    await server.requests(2)
    server.accept('new')
    server.end()
    await pass()
    assert.equal((await errorOf(await hears('failed http_401'))).code, 'http_401')
    await writeFile(join(path, 'token'), 'new')
    server.put(slice('app-b', [3]))
    await pass()
    await hears('complete 1 2 3')
    assert.deepEqual(
      server.asked.slice(0, 4).map(({ token }) => token),
      ['old', 'old', 'old', 'new'],
    )
  })

  test('go to no http:// server unless the config says so', async (t) => {
    const path = await serviceAccount(t, { token: 'secret', namespace: 'web' })
    const { look, server } = await setUp(t, { surroundings: { env: {}, serviceAccount: path } })
    await look()
    assert.equal(server.asked[0]?.token, undefined)
  })

  test('of a pod are found where Kubernetes puts them, its server behind brackets where it has an IPv6 address', async (t) => {
    const ca = '-----BEGIN CERTIFICATE-----\n'
    const path = await serviceAccount(t, { token: 'secret\n', 'ca.crt': ca, namespace: 'web\n' })
    const options = kubernetesOptionsSchema.parse({ service: 'app' })
    const at = (host: string) => ({
      env: { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: '443' },
      serviceAccount: path,
    })
    assert.deepEqual(await findTarget(options, at('10.96.0.1')), { url: 'https://10.96.0.1:443', token: 'secret', ca })
    assert.equal((await findTarget(options, at('fd00::1'))).url, 'https://[fd00::1]:443')
    assert.equal(await findNamespace(options, at('10.96.0.1')), 'web')
  })

  const missing: [string, Record<string, string>, Record<string, string>, string, RegExp][] = [
    ['a server', {}, {}, 'not_in_cluster', /set server, http:\/\/127\.0\.0\.1:8001 beside a kubectl proxy/],
    [
      'a token',
      { 'ca.crt': '-----BEGIN CERTIFICATE-----' },
      { server: 'https://127.0.0.1:1' },
      'token_unreadable',
      /set tokenFile/,
    ],
    [
      'a token in its file',
      { token: ' ', 'ca.crt': '-----BEGIN CERTIFICATE-----' },
      { server: 'https://127.0.0.1:1' },
      'token_unreadable',
      /got something else/,
    ],
    ['a CA file', { token: 't' }, { server: 'https://127.0.0.1:1' }, 'ca_unreadable', /never asked unverified/],
    [
      'a certificate in the CA file',
      { token: 't', 'ca.crt': '' },
      { server: 'https://127.0.0.1:1' },
      'ca_unreadable',
      /got none/,
    ],
  ]
  for (const [what, files, options, code, advice] of missing) {
    test(`fail without ${what}`, async (t) => {
      const surroundings = { env: {}, serviceAccount: await serviceAccount(t, files) }
      const { look } = await setUp(t, { surroundings, options: { server: undefined, ...options } })
      const error = await errorOf(look())
      assert.equal(error.code, code)
      assert.match(error.message, advice)
    })
  }

  test('fail without a namespace', async (t) => {
    const { look } = await setUp(t, { options: { namespace: undefined } })
    const error = await errorOf(look())
    assert.equal(error.code, 'namespace_unknown')
    assert.match(error.message, /ENOENT: set namespace/)
  })
})

describe('an https:// server', { ...limits, skip: missingPrograms('openssl') }, () => {
  /** An authority, and the certificate of 127.0.0.1 that it signed. */
  async function certificates(t: TestContext) {
    const path = await folder(t)
    const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: path, stdio: 'ignore' })
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
    openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.crt', '-days', '2', '-subj', '/CN=test authority')
    const name = ['-subj', '/CN=kubernetes', '-addext', 'subjectAltName=IP:127.0.0.1']
    openssl(
      'req',
      '-x509',
      ...key,
      '-keyout',
      'key.pem',
      '-out',
      'cert.pem',
      '-days',
      '2',
      ...name,
      '-CA',
      'ca.crt',
      '-CAkey',
      'ca.key',
    )
    await writeFile(join(path, 'token'), 'secret')
    return {
      path,
      surroundings: { env: {}, serviceAccount: path },
      tls: { cert: await readFile(join(path, 'cert.pem'), 'utf8'), key: await readFile(join(path, 'key.pem'), 'utf8') },
    }
  }

  test('is listed and watched with the token of the pod, its certificate verified, over one connection', async (t) => {
    const { tls, surroundings } = await certificates(t)
    const { watch, server, clock, ended } = await setUp(t, { server: { tls }, surroundings })
    server.accept('secret')
    const { hears, done } = watch()
    await hears('complete 1 2')
    await server.requests(2)
    server.put(slice('app-b', [3]))
    await hears('complete 1 2 3')
    await clock.advance(5_000)
    await server.requests(3)
    assert.equal(server.connections(), 1)
    ended.abort()
    await done
    await server.idle()
  })

  test('is read by the page, and closed after a look', async (t) => {
    const { tls, surroundings } = await certificates(t)
    const { look, server } = await setUp(t, { server: { tls }, surroundings })
    for (let index = 0; index < 600; index++) server.put(slice(`app-${index}`, [3]))
    assert.equal(outline(await look()), 'complete 1 2 3')
    await server.idle()
  })

  test('that cuts a line in the middle is watched on', async (t) => {
    const { tls, surroundings } = await certificates(t)
    const { watch, server, pass } = await setUp(t, { server: { tls }, surroundings })
    const { hears, told } = watch()
    await server.requests(2)
    server.put(slice('app-b', [3]))
    await hears('complete 1 2 3')
    server.say('{"type":"ADD')
    server.cut()
    server.put(slice('app-c', [4]))
    await pass()
    await server.requests(3)
    await hears('complete 1 2 3 4')
    assert.ok(told.every(({ outcome }) => outcome === 'complete'))
  })

  test('with a certificate of another authority is sent nothing', async (t) => {
    const [{ tls }, { surroundings }] = [await certificates(t), await certificates(t)]
    const { look, server } = await setUp(t, { server: { tls }, surroundings })
    const error = await errorOf(look())
    assert.equal(error.code, 'tls_untrusted')
    assert.match(error.message, /set caFile/)
    assert.deepEqual(server.asked, [])
  })

  test('under a name that its certificate has not is sent nothing', async (t) => {
    const { tls, surroundings } = await certificates(t)
    const { look, server } = await setUp(t, { server: { tls }, surroundings, options: { server: undefined } })
    assert.equal((await errorOf(look())).code, 'not_in_cluster')
    const env = { KUBERNETES_SERVICE_HOST: 'localhost', KUBERNETES_SERVICE_PORT: String(server.port) }
    const other = await setUp(t, { surroundings: { ...surroundings, env }, options: { server: undefined } })
    assert.equal((await errorOf(other.look())).code, 'tls_untrusted')
    assert.deepEqual(server.asked, [])
  })

  test('is believed by new certificates once the CA file has them', async (t) => {
    const [old, fresh] = [await certificates(t), await certificates(t)]
    const { watch, pass } = await setUp(t, { server: { tls: fresh.tls }, surroundings: old.surroundings })
    const { hears } = watch()
    await hears('failed tls_untrusted')
    await writeFile(join(old.path, 'ca.crt'), await readFile(join(fresh.path, 'ca.crt')))
    await pass()
    await hears('complete 1 2')
  })
})

describe('what libcluster takes for an empty mesh cuts nobody here', limits, () => {
  const empty = (items: unknown) =>
    JSON.stringify({ kind: 'EndpointSliceList', metadata: { resourceVersion: '1' }, items })
  const stranger = { ...slice('app-a', [1, 2]), endpoints: [{ addresses: ['10.0.0.2'] }] }
  const cases: [string, Fault, RegExp][] = [
    [
      '403',
      refusing(403, 'endpointslices is forbidden'),
      /^source_failed .*the Role lacks the verb list.*\(http_403\)/,
    ],
    ['an empty list', answering(empty([])), /^source_doubted it lists nobody else; nobody is removed for it/],
    ['items: null', answering(empty(null)), /^source_doubted it lists nobody else; nobody is removed for it/],
    ['invalid JSON', answering('{"kind":'), /^source_failed .*\(bad_answer\)/],
    ['an address without a reference', answering(empty([stranger])), /^member_listed listed$/],
  ]
  for (const [what, fault, said] of cases) {
    test(`${what}, for twenty minutes`, async (t) => {
      const { look, server, clock } = await setUp(t)
      const events: string[] = []
      const cut: string[] = []
      let state: State | undefined
      async function round(): Promise<void> {
        const made = plan(state, {
          self: SELF,
          now: clock.now(),
          links: ['app@10.0.0.2'],
          topologies: {
            web: {
              sources: ['kubernetes'],
              intervalMs: INTERVAL_MS,
              policy: defaultPolicy,
              observations: [await look()],
            },
          },
        })
        state = made.state
        events.push(...made.events.map(({ type, message }) => `${type} ${message}`))
        cut.push(...made.disconnect.map(({ node }) => node))
        await clock.advance(INTERVAL_MS)
      }
      await round()
      for (let count = 0; count < 240; count++) {
        server.fault(fault)
        await round()
      }
      assert.deepEqual(cut, [])
      assert.ok(
        events.some((event) => said.test(event)),
        events.join('\n'),
      )
      assert.ok(events.length < 10, 'expected events on change only')
    })
  }
})

test('an agent polls it when it is not to watch, and watches it else', limits, async (t) => {
  for (const [watch, query] of [
    [false, { resourceVersion: '0' }],
    [true, {}],
  ] as const) {
    const { server, ended, clock, log } = await setUp(t)
    const options = kubernetesOptionsSchema.parse({ service: 'app', namespace: 'web', server: server.url, watch })
    const opened = await openSource(
      { id: 'k', kind: 'kubernetes', options },
      {
        topology: 'web',
        intervalMs: INTERVAL_MS,
        self: SELF,
        log,
        clock,
        load: async () => createKubernetesSource({ clock, surroundings: nowhere }),
      },
    )
    const { hears } = listen(opened.watch(ended.signal))
    await hears('complete 1 2')
    await server.requests(1)
    if (!watch) await clock.advance(INTERVAL_MS)
    await server.requests(2)
    assert.equal(server.asked[1]?.verb, watch ? 'watch' : 'list')
    assert.equal(server.asked[0]?.query.resourceVersion, (query as { resourceVersion?: string }).resourceVersion)
    ended.abort()
  }
})

/** What is in use after a collection, in bytes. */
function heapUsed(): number {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  collect()
  return process.memoryUsage().heapUsed
}
