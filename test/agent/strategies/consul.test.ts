import assert from 'node:assert/strict'
import type { RequestListener } from 'node:http'
import { describe, it, type TestContext } from 'node:test'
import { createConsulSource } from '../../../agent/strategies/consul.ts'
import type { Clock } from '../../../agent/clock.ts'
import { openSource } from '../../../agent/strategies/index.ts'
import type { Observation } from '../../../core/member.ts'
import { observe } from '../../../functions/resolvers/source.ts'
import { BAD_BODIES, flooding, nowhere, serveLoopback } from '../../contract/loopback.ts'
import { parseOptions, sourceContract } from '../../contract/source-contract.ts'
import { createFakeLog } from '../fakes.ts'
import { createManualClock } from '../manual-clock.ts'
import { type ConsulAgent, type ConsulAgentOptions, startConsulAgent } from './consul-agent.ts'

const SELF = 'app@10.0.0.1'
const TOKEN = '3f1c9e52-token'
const INTERVAL_MS = 5_000
// What it asks Consul to wait at an interval of 5 s, whose chance is 1: Consul may take a 16th longer.
const WAIT_MS = 4_705

const says =
  (body: string, status = 200): RequestListener =>
  (_request, response) =>
    void response.writeHead(status).end(body)

const world =
  (handle: RequestListener, rest: object = {}) =>
  async (t: TestContext) => {
    const { url, asked } = await serveLoopback(t, handle)
    return { options: { url, service: 'web' }, asked, ...rest }
  }

const agent =
  (given: ConsulAgentOptions, rest: object = {}, options: object = {}) =>
  async (t: TestContext) => ({
    options: { url: (await startConsulAgent(t, given)).url, service: 'web', ...options },
    ...rest,
  })

const acl = (policy: 'allow' | 'deny') => ({ policy, tokens: { [TOKEN]: 'nothing' } }) as const

sourceContract({
  name: 'consul',
  kind: 'consul',
  load: () => createConsulSource(),
  ways: ['look', 'watch'],
  self: SELF,
  good: {
    service: 'web',
    url: 'https://consul:8501/',
    passing: false,
    datacenters: ['dc1'],
    token: TOKEN,
    basename: 'app',
    watch: false,
    timeout: '2s',
  },
  bad: {
    service: '',
    url: 'consul:8500',
    passing: 'yes',
    datacenters: [],
    token: 'a b',
    basename: 5,
    watch: 1,
    timeout: 'soon',
  },
  lists: agent({ datacenters: { dc1: ['10.0.0.1', '10.0.0.2', '10.0.0.2'] } }, { nodes: [SELF, 'app@10.0.0.2'] }),
  nobody: agent({ datacenters: { dc1: [] } }),
  flawed: {
    'an instance whose address cannot be in a name': agent(
      { datacenters: { dc1: ['10.0.0.1', 'a b'] } },
      { nodes: [SELF] },
    ),
    'an address with a NUL byte': agent({ datacenters: { dc1: ['10.0.0.1', '\0'] } }, { nodes: [SELF] }),
    'a datacenter that is not there': agent({}, { nodes: [SELF] }, { datacenters: ['dc1', 'dc7'] }),
    'a list that ACLs have filtered': agent(
      { datacenters: { dc1: ['10.0.0.3', '10.0.0.1'] }, acl: { policy: 'deny', tokens: { [TOKEN]: 'some' } } },
      { nodes: [SELF] },
      { token: TOKEN },
    ),
  },
  failing: {
    'a 500 for want of a leader': world(says('No cluster leader', 500), { code: 'http_500' }),
    'a 429': world(says('Too many', 429), { code: 'http_429' }),
    'an unknown token': agent({ acl: acl('deny') }, { code: 'http_403' }, { token: 'another' }),
    'a token that may see nothing': agent({ acl: acl('deny') }, { code: 'acl_filtered' }, { token: TOKEN }),
    'no token where one is needed': agent({ acl: acl('deny') }, { code: 'acl_filtered' }),
    'no datacenter that is there': agent({}, { code: 'http_500' }, { datacenters: ['dc7', 'dc8'] }),
    'a redirect': world((_request, response) => void response.writeHead(301, { Location: '/' }).end(), {
      code: 'http_301',
    }),
    'a port where nobody listens': async () => ({
      options: { url: await nowhere(), service: 'web' },
      code: 'unreachable',
    }),
    ...Object.fromEntries(
      Object.entries(BAD_BODIES).map(([what, body]) => [what, world(says(body), { code: 'bad_answer' })]),
    ),
  },
  hangs: world(() => undefined),
  floods: world(flooding('['), { code: 'bad_answer' }),
})

/** A source that is asked once. */
async function look(t: TestContext, given: ConsulAgentOptions, options: Record<string, unknown> = {}) {
  const consul = await startConsulAgent(t, given)
  const { signal } = new AbortController()
  const context = { source: 'consul', self: SELF, signal, now: () => 1_000, log: createFakeLog(), fetch }
  const parsed = parseOptions('consul', { url: consul.url, service: 'web', ...options })
  return { ...consul, observation: await observe(createConsulSource(), parsed, context) }
}

/** A source that is watched, on a clock that stands still. */
async function follow(
  t: TestContext,
  given: ConsulAgentOptions = {},
  { intervalMs = INTERVAL_MS, ...options }: Record<string, unknown> & { intervalMs?: number } = {},
) {
  const consul = await startConsulAgent(t, given)
  const clock = createManualClock()
  const ended = new AbortController()
  const context = {
    source: 'consul',
    self: SELF,
    signal: ended.signal,
    now: clock.now,
    intervalMs,
    log: createFakeLog(),
    fetch,
  }
  const parsed = parseOptions('consul', { url: consul.url, service: 'web', ...options })
  const stream = createConsulSource(clock).watch?.(parsed as never, context)
  const iterator = stream?.[Symbol.asyncIterator]() ?? assert.fail('expected a watch')
  t.after(async () => {
    ended.abort()
    await iterator.return?.()
  })
  return {
    consul,
    clock,
    ended,
    iterator,
    next: async (): Promise<Observation> => {
      const { done, value } = await iterator.next()
      return done === true ? assert.fail('expected the watch to go on, got its end') : value
    },
  }
}

/** Resolves when whatever was sent before has arrived: questions come in the order in which they are asked. */
async function settled({ url }: ConsulAgent): Promise<void> {
  for (let count = 0; count < 3; count++) await (await fetch(`${url}/nothing`)).text()
}

const nodesOf = ({ members = [] }: Observation) => members.map(({ node }) => node)
const codeOf = (observation: Observation) =>
  observation.outcome === 'failed' ? observation.error.code : observation.outcome

describe('a look at Consul', () => {
  it('lists the instances whose checks pass, without waiting, and all of them when told so', async (t) => {
    const instances = [
      '10.0.0.1',
      { address: '10.0.0.2', status: 'critical' },
      { address: '10.0.0.3', status: 'warning' },
    ] as const
    const passing = await look(t, { datacenters: { dc1: [...instances] } })
    assert.deepEqual(passing.observation, {
      source: 'consul',
      at: 1_000,
      outcome: 'complete',
      members: [{ node: SELF, status: 'up' }],
    })
    assert.equal(passing.questions[0]?.url, '/v1/health/service/web?passing=true')
    const all = await look(t, { datacenters: { dc1: [...instances] } }, { passing: false, basename: 'db' })
    assert.deepEqual(nodesOf(all.observation), ['db@10.0.0.1', 'db@10.0.0.2', 'db@10.0.0.3'])
  })

  it('sends its token in a header and shows it nowhere', async (t) => {
    const { observation, questions } = await look(t, { acl: acl('deny') }, { token: TOKEN })
    assert.equal(questions[0]?.token, TOKEN)
    assert.ok(!questions[0]?.url.includes(TOKEN))
    assert.ok(!JSON.stringify(observation).includes(TOKEN))
    const without = await look(t, {})
    assert.equal(without.questions[0]?.token, undefined)
  })

  it('asks every datacenter; one that fails is named, and the others are kept', async (t) => {
    const datacenters = { dc1: ['10.0.0.1'], dc2: ['10.2.0.1', '10.0.0.1'] }
    const both = await look(t, { datacenters }, { datacenters: ['dc1', 'dc2', 'dc1'] })
    assert.equal(both.observation.outcome, 'complete')
    assert.deepEqual(nodesOf(both.observation), [SELF, 'app@10.2.0.1'])
    assert.equal(both.questions.length, 2)
    const { observation } = await look(t, { datacenters }, { datacenters: ['dc1', 'dc2', 'dc3'] })
    assert.equal(observation.outcome, 'partial')
    assert.deepEqual(nodesOf(observation), [SELF, 'app@10.2.0.1'])
    assert.match(
      observation.outcome === 'partial' ? observation.reason : '',
      /^\[consul\] expected 200 from http.*\?dc=dc3&passing=true, got 500 No path to datacenter: /,
    )
  })

  it('says what to check when a token is refused', async (t) => {
    const { observation } = await look(t, { acl: acl('deny') }, { token: 'another' })
    const message = observation.outcome === 'failed' ? observation.error.message : ''
    assert.match(message, /got 403 ACL not found: check token, .*service:read, node:read/)
  })
})

describe('a watch of Consul', () => {
  it('gives the set at once, then each change as it happens', async (t) => {
    const { consul, next } = await follow(t)
    assert.deepEqual(nodesOf(await next()), [SELF])
    const change = next()
    await consul.holds(1)
    assert.equal(consul.questions[1]?.url, '/v1/health/service/web?passing=true&index=10&wait=4705ms')
    consul.change(['10.0.0.1', '10.0.0.2'])
    const observation = await change
    assert.equal(observation.outcome, 'complete')
    assert.deepEqual(nodesOf(observation), [SELF, 'app@10.0.0.2'])
    assert.equal((await consul.question(2)).query.get('index'), '11')
  })

  it('gives the set again when its wait is over: that it lives is news', async (t) => {
    const { consul, clock, next } = await follow(t)
    const first = await next()
    for (let count = 1; count <= 5; count++) {
      await consul.holds(1)
      await clock.advance(WAIT_MS)
      consul.letGo()
      const again = await next()
      assert.deepEqual({ ...again, at: 0 }, { ...first, at: 0 })
      assert.equal(again.at, first.at + count * WAIT_MS)
    }
  })

  it('asks for no wait of 0, which is 5 minutes to Consul, nor for one that fetch would give up', async (t) => {
    for (const [intervalMs, wait] of [
      [0.5, '100ms'],
      [86_400_000, '240000ms'],
    ] as const) {
      const { consul, next } = await follow(t, {}, { intervalMs })
      await next()
      await consul.holds(1)
      assert.equal(consul.questions[1]?.query.get('wait'), wait)
    }
  })

  it('takes changes that come thick at the pace of its interval, after the first two', async (t) => {
    const { consul, clock, next } = await follow(t)
    await next()
    for (const last of [2, 3]) {
      await consul.holds(1)
      consul.change(['10.0.0.1', `10.0.0.${last}`])
      assert.deepEqual(nodesOf(await next()), [SELF, `app@10.0.0.${last}`])
    }
    consul.change(['10.0.0.4'])
    await clock.advance(INTERVAL_MS - 1)
    await settled(consul)
    assert.equal(consul.questions.length, 3)
    await clock.advance(1)
    assert.deepEqual(nodesOf(await next()), ['app@10.0.0.4'])
  })

  it('begins anew when the index goes backwards', async (t) => {
    const { consul, next } = await follow(t)
    await next()
    await consul.holds(1)
    consul.change(['10.0.0.2'], { index: 4 })
    assert.deepEqual(nodesOf(await next()), ['app@10.0.0.2'])
    assert.equal((await consul.question(2)).query.has('index'), false)
    assert.deepEqual(nodesOf(await next()), ['app@10.0.0.2'])
    assert.equal((await consul.question(3)).query.get('index'), '4')
  })

  it('waits from index 1 where it is told 0, which would not wait', async (t) => {
    const { consul, next } = await follow(t)
    consul.change(['10.0.0.1'], { index: 0, header: '0' })
    await next()
    await consul.holds(1)
    assert.equal(consul.questions[1]?.query.get('index'), '1')
  })

  it('asks once an interval where there is no index', async (t) => {
    const { consul, clock, next } = await follow(t)
    consul.change(['10.0.0.1'], { header: null })
    for (let count = 1; count <= 3; count++) {
      assert.deepEqual(nodesOf(await next()), [SELF])
      while (clock.sleeping() === 0) await settled(consul)
      await clock.advance(INTERVAL_MS - 1)
      await settled(consul)
      assert.equal(consul.questions.length, count)
      await clock.advance(1)
    }
    assert.ok(consul.questions.every(({ query }) => !query.has('index') && !query.has('wait')))
  })

  it('says that it fails, each time in the same words, asks anew after a wait that doubles, and recovers', async (t) => {
    const { consul, clock, next } = await follow(t)
    await next()
    await consul.holds(1)
    consul.change([], { refuses: { status: 500, body: 'No cluster leader' } })
    const messages: string[] = []
    for (const waitMs of [5_000, 10_000, 20_000, 30_000, 30_000]) {
      const observation = await next()
      assert.equal(codeOf(observation), 'http_500')
      messages.push(observation.outcome === 'failed' ? observation.error.message : '')
      const { length } = consul.questions
      while (clock.sleeping() === 0) await settled(consul)
      await clock.advance(waitMs - 1)
      await settled(consul)
      assert.equal(consul.questions.length, length)
      await clock.advance(1)
      assert.equal((await consul.question(length)).query.has('index'), false)
    }
    assert.equal(new Set(messages).size, 1)
    await next()
    consul.change(['10.0.0.2'])
    await clock.advance(30_000)
    const recovered = await next()
    assert.equal(recovered.outcome, 'complete')
    assert.deepEqual(nodesOf(recovered), ['app@10.0.0.2'])
    await consul.holds(1)
  })

  it('leaves it alone for as long as it asks', async (t) => {
    const { consul, clock, next } = await follow(t)
    const refuses = { status: 429, body: 'too many', headers: { 'Retry-After': '12' } }
    consul.change([], { refuses })
    assert.equal(codeOf(await next()), 'http_429')
    while (clock.sleeping() === 0) await settled(consul)
    await clock.advance(11_999)
    await settled(consul)
    assert.equal(consul.questions.length, 1)
    await clock.advance(1)
    await consul.question(1)
  })

  it('gives up a wait that does not end, and a connection that breaks', async (t) => {
    const { consul, clock, next } = await follow(t, {}, { timeout: '2s' })
    await next()
    await consul.holds(1)
    const hung = next()
    await clock.advance(INTERVAL_MS + 2_000 - 1)
    await settled(consul)
    assert.equal(consul.held(), 1)
    await clock.advance(1)
    const observation = await hung
    assert.equal(codeOf(observation), 'timeout')
    assert.match(
      observation.outcome === 'failed' ? observation.error.message : '',
      /web\?passing=true within 7000 ms, got none$/,
    )
    consul.hangUp()
    while (clock.sleeping() === 0) await settled(consul)
    await clock.advance(INTERVAL_MS)
    assert.equal(codeOf(await next()), 'complete')
    await consul.holds(1)
    consul.hangUp()
    assert.equal(codeOf(await next()), 'unreachable')
  })

  it('waits in each datacenter; one that fails makes the rest partial until it is back', async (t) => {
    const datacenters = { dc1: ['10.0.0.1'], dc2: ['10.2.0.1'] }
    const { consul, clock, next } = await follow(t, { datacenters }, { datacenters: ['dc1', 'dc2'] })
    const first = await next()
    assert.equal(first.outcome, 'complete')
    assert.deepEqual(nodesOf(first), [SELF, 'app@10.2.0.1'])
    await consul.holds(2)
    consul.change(['10.2.0.1', '10.2.0.2'], { datacenter: 'dc2' })
    const more = await next()
    assert.deepEqual(nodesOf(more), [SELF, 'app@10.2.0.1', 'app@10.2.0.2'])
    // No time has passed, and it is news all the same.
    assert.equal(more.at, first.at + 1)
    await consul.holds(2)
    consul.change([], { datacenter: 'dc2', refuses: { status: 500, body: 'No path to datacenter' } })
    const partial = await next()
    assert.equal(partial.outcome, 'partial')
    assert.deepEqual(nodesOf(partial), [SELF])
    assert.match(partial.outcome === 'partial' ? partial.reason : '', /dc=dc2.*No path to datacenter/)
    consul.change(['10.0.0.1', '10.0.0.3'])
    const still = await next()
    assert.equal(still.outcome, 'partial')
    assert.deepEqual(nodesOf(still), [SELF, 'app@10.0.0.3'])
    consul.change(['10.2.0.9'], { datacenter: 'dc2' })
    await consul.holds(1)
    await clock.advance(INTERVAL_MS)
    const whole = await next()
    assert.equal(whole.outcome, 'complete')
    assert.deepEqual(nodesOf(whole), [SELF, 'app@10.0.0.3', 'app@10.2.0.9'])
  })

  it('says nothing before each datacenter has said something', async (t) => {
    const { url, asked } = await serveLoopback(t, () => undefined)
    const clock = createManualClock()
    const ended = new AbortController()
    const context = { source: 'consul', self: SELF, signal: ended.signal, now: clock.now, log: createFakeLog(), fetch }
    const answers: typeof fetch = async (target, init) =>
      JSON.stringify(target).includes('dc=dc1')
        ? Response.json([], { headers: { 'X-Consul-Index': '1' } })
        : await fetch(target, init)
    const options = parseOptions('consul', { url, service: 'web', datacenters: ['dc1', 'dc2'] })
    const stream = createConsulSource(clock).watch?.(options as never, { ...context, fetch: answers })
    const iterator = stream?.[Symbol.asyncIterator]()
    const first = iterator?.next()
    await asked
    await clock.advance(5_000)
    const { value } = (await first) ?? {}
    assert.equal((value as Observation).outcome, 'partial')
    ended.abort()
    await iterator?.return?.()
  })

  it('ends with its signal, in the midst of a wait, and leaves no timer', async (t) => {
    const { consul, clock, ended, next, iterator } = await follow(t)
    await next()
    await consul.holds(1)
    const last = iterator.next()
    ended.abort()
    assert.deepEqual(await last, { done: true, value: undefined })
    assert.equal(clock.sleeping(), 0)
  })

  it('is asked once an interval, and never waits, with watch: false', async (t) => {
    const consul = await startConsulAgent(t)
    const waits: number[] = []
    const clock: Clock = {
      now: () => 1_000,
      random: () => 0.5,
      async sleep(ms, signal) {
        if (ms > INTERVAL_MS) return await createManualClock().sleep(ms, signal)
        waits.push(ms)
      },
    }
    const options = parseOptions('consul', { url: consul.url, service: 'web', watch: false })
    const config = { id: 'consul', kind: 'consul', options }
    const given = { topology: 'web', intervalMs: INTERVAL_MS, self: SELF, log: createFakeLog(), clock }
    const opened = await openSource(config, given)
    for await (const { outcome } of opened.watch(new AbortController().signal)) {
      assert.equal(outcome, 'complete')
      if (consul.questions.length === 3) break
    }
    assert.deepEqual(waits, [4_500, 4_500])
    assert.deepEqual(
      consul.questions.map(({ url }) => url),
      Array.from({ length: 3 }, () => '/v1/health/service/web?passing=true'),
    )
  })
})
