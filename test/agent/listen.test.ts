import assert from 'node:assert/strict'
import { request } from 'node:http'
import { type TestContext, test } from 'node:test'
import { createEvents } from '../../agent/events.ts'
import { serveHealth } from '../../agent/listen.ts'
import { RollcallError } from '../../core/error.ts'
import { type Plan, plan } from '../../core/plan.ts'
import { defaultPolicy } from '../../core/policy.ts'
import { complete, createFakeLog } from './fakes.ts'

const SELF = 'a@10.0.0.1'
const [B, C, D] = ['b@10.0.0.2', 'c@10.0.0.3', 'd@10.0.0.4'] as const

const NOTHING = {
  plan: () => undefined,
  links: () => new Set<string>(),
  missing: () => [],
  on: () => () => undefined,
  leave: async () => {},
}

function planOf(): Plan {
  const observations = [complete('dns', 1_000, [SELF, B, C])]
  const web = { sources: ['dns', 'ec2'], intervalMs: 5_000, policy: { ...defaultPolicy }, observations }
  return plan(undefined, { self: SELF, now: 2_000, links: [B], topologies: { web } })
}

async function setUp(
  t: TestContext,
  { isNew = false, missing = [] as string[], host = '127.0.0.1', leave = async () => {} } = {},
) {
  const ended = new AbortController()
  t.after(() => ended.abort())
  const events = createEvents(createFakeLog)
  const known = isNew ? undefined : planOf()
  const view = { plan: () => known, links: () => new Set([D, B]), missing: () => missing, on: events.on, leave }
  const { url, closed } = await serveHealth(`${host}:0`, { view, signal: ended.signal })
  return { url, closed, ended, events }
}

/** `fetch` would not let a test choose the Host. */
function ask(url: string, { host, method = 'GET', origin }: { host?: string; method?: string; origin?: string } = {}) {
  const { promise, resolve, reject } = Promise.withResolvers<{
    status: number | undefined
    type: string | undefined
    body: string
  }>()
  const headers = { ...(host && { host }), ...(origin && { origin }) }
  const asked = request(url, { method, headers, agent: false }, (response) => {
    let body = ''
    response.on('data', (chunk: Buffer) => (body += chunk.toString()))
    response.on('end', () => resolve({ status: response.statusCode, type: response.headers['content-type'], body }))
  })
  asked.on('error', reject).end()
  return promise
}

test('healthz is 200 as long as the process lives', async (t) => {
  const { url } = await setUp(t, { isNew: true, missing: ['topology: web'] })
  assert.deepEqual(await ask(`${url}/healthz`), { status: 200, type: 'application/json', body: '{"status":"ok"}' })
})

test('readyz is 200 when nothing is missing', async (t) => {
  const { url } = await setUp(t)
  assert.equal((await ask(`${url}/readyz`)).status, 200)
})

test('readyz is 503 and names what is missing', async (t) => {
  const { url } = await setUp(t, { missing: ['topology: web', 'topology: jobs'] })
  const { status, type, body } = await ask(`${url}/readyz`)
  assert.equal(status, 503)
  assert.equal(type, 'application/problem+json')
  const { code, missing, detail } = JSON.parse(body)
  assert.deepEqual({ code, missing }, { code: 'not_ready', missing: ['topology: web', 'topology: jobs'] })
  assert.match(detail, /web, topology: jobs/)
})

test('the plan is told without its state, and the links that stand beside it', async (t) => {
  const { url } = await setUp(t)
  const { status, body } = await ask(`${url}/v1/plan?pretty`)
  assert.equal(status, 200)
  const told = JSON.parse(body)
  assert.deepEqual(told.links, [B, D])
  assert.deepEqual(
    told.connect.map(({ node }: { node: string }) => node),
    [C],
  )
  assert.equal('state' in told, false)
})

test('before the first plan there is none to tell', async (t) => {
  const { url } = await setUp(t, { isNew: true })
  const { status, body } = await ask(`${url}/v1/plan`)
  assert.deepEqual([status, JSON.parse(body).code], [503, 'no_plan_yet'])
})

test('metrics tell links, sources, holds and events', async (t) => {
  const { url, events } = await setUp(t)
  for (const node of [B, C]) events.emit({ type: 'nodeup', node, message: 'linked' })
  const { status, type, body } = await ask(`${url}/metrics`)
  assert.equal(status, 200)
  assert.match(type ?? '', /^text\/plain/)
  const lines = body.split('\n').filter((line) => !line.startsWith('#'))
  for (const line of [
    'rollcall_links 2',
    'rollcall_formed{topology="web"} 0',
    'rollcall_guard{topology="web"} 0',
    'rollcall_source_members{topology="web",source="dns"} 3',
    'rollcall_source_members{topology="web",source="ec2"} 0',
    'rollcall_source_up{topology="web",source="dns"} 1',
    'rollcall_source_asked_seconds{topology="web",source="dns"} 1',
    'rollcall_source_answered_seconds{topology="web",source="dns"} 1',
    'rollcall_events_total{type="nodeup"} 2',
  ]) {
    assert.ok(lines.includes(line), `${line}\n${body}`)
  }
  assert.equal(
    lines.some((line) => line.startsWith('rollcall_source_up{topology="web",source="ec2"}')),
    false,
  )
})

test('bound to loopback, a Host of somewhere else is refused', async (t) => {
  const { url } = await setUp(t)
  for (const host of ['evil.example', 'evil.example:8788', '10.0.0.1', '127.0.0.1.evil.example']) {
    const { status, body } = await ask(`${url}/v1/plan`, { host })
    assert.deepEqual([host, status, JSON.parse(body).code], [host, 403, 'host_forbidden'])
  }
  for (const host of ['localhost', 'LOCALHOST:1', '127.0.0.1:8788', '[::1]:8788']) {
    assert.equal((await ask(`${url}/v1/plan`, { host })).status, 200, host)
  }
})

test('another path or method is a problem in JSON', async (t) => {
  const { url } = await setUp(t)
  for (const path of ['/', '/v1/plan/', '/constructor', '/__proto__']) {
    const { status, body } = await ask(`${url}${path}`)
    assert.deepEqual([path, status, JSON.parse(body).code], [path, 404, 'not_found'])
  }
  const { status, body } = await ask(`${url}/healthz`, { method: 'POST' })
  assert.deepEqual([status, JSON.parse(body).code], [405, 'method_not_allowed'])
  assert.deepEqual((await ask(`${url}/healthz`, { method: 'HEAD' })).body, '')
})

test('a port in use is an error that says what to do', async (t) => {
  const { url } = await setUp(t)
  const { signal } = new AbortController()
  await assert.rejects(serveHealth(new URL(url).host, { view: NOTHING, signal }), {
    code: 'port_in_use',
    message: /expected to listen on 127\.0\.0\.1:\d+, got EADDRINUSE: end the other program/,
  })
})

test('an address of another machine is an error', async () => {
  const { signal } = new AbortController()
  await assert.rejects(serveHealth('192.0.2.1:0', { view: NOTHING, signal }), { code: 'listen' })
})

test('IPv6 in brackets is an address too', async (t) => {
  const { url } = await setUp(t, { host: '[::1]' })
  assert.equal((await ask(`${url}/healthz`)).status, 200)
})

test('the signal ends it with every connection', async (t) => {
  const { url, closed, ended } = await setUp(t)
  await ask(`${url}/healthz`)
  ended.abort()
  await closed
  await assert.rejects(ask(`${url}/healthz`), { code: 'ECONNREFUSED' })
})

test('POST /v1/leave takes the node out, but not for the page of a browser', async (t) => {
  let left = 0
  const leave = async () => {
    left++
  }
  const { url } = await setUp(t, { leave })
  assert.equal((await ask(`${url}/v1/leave`, { method: 'POST', origin: 'https://elsewhere.example' })).status, 403)
  assert.equal((await ask(`${url}/v1/leave`)).status, 404)
  assert.equal(left, 0)
  assert.equal((await ask(`${url}/v1/leave`, { method: 'POST' })).status, 200)
  assert.equal(left, 1)
})

test('POST /v1/leave says why the node could not leave', async (t) => {
  const leave = async () => {
    throw new RollcallError('node_down', '[test] expected a node, got none')
  }
  const { url } = await setUp(t, { leave })
  const { status, body } = await ask(`${url}/v1/leave`, { method: 'POST' })
  assert.deepEqual([status, JSON.parse(body).code], [503, 'node_down'])
})
