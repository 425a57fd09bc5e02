import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { parseServedConfig } from '../../../core/served-config.ts'
import { createApp } from '../../../functions/app.ts'
import { resolvers } from '../../../functions/resolvers/index.ts'
import { stores } from '../../../functions/stores/index.ts'
import type { Target } from '../target.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }
const token = 'a'.repeat(43)
const agents = { authorization: `Bearer ${token}` }
const raw = {
  topologies: {
    web: { sources: [{ static: { nodes: ['app@10.0.0.1', 'app@10.0.0.2'] } }] },
    shop: { sources: [{ registry: {} }] },
  },
  auth: [
    { name: 'agents', sha256: createHash('sha256').update(token).digest('hex'), verbs: ['read', 'plan', 'register'] },
  ],
}
const plan = { method: 'POST', path: '/v1/topologies/web/plan', headers: agents }
const member = '/v1/topologies/shop/members/app@10.0.0.1'
const lease = { id: 'x', ttlMs: 30_000, status: 'up', address: { host: 'h', port: 1 }, meta: { zone: 'a' } }

/** A request as a value of JSON; its body as text, where it is not given as a value. */
interface Asked {
  readonly method?: unknown
  readonly path?: unknown
  readonly headers?: unknown
  readonly body?: unknown
}

/**
 * Calls of the HTTP interface: every answer is one that it has, in JSON, with an id; none is a 500, and a plan's own state is accepted with
 * the next call.
 */
export function httpTarget(): Target {
  const { topologies, auth } = parseServedConfig(raw, { file: 'fuzz', env: {} })
  let time = 1_700_000_000_000
  let planned = 0
  const failures: unknown[] = []
  const noting = { ...log, error: (fields: object) => failures.push(fields) }
  const app = createApp({ topologies, auth, loaders: resolvers, stores, log: noting, now: () => time })

  async function ask({
    method,
    path,
    headers,
    body,
  }: Asked): Promise<{ status: number; document: unknown } | undefined> {
    const request = requestOf({ method, path, headers, body })
    if (request === undefined) return undefined
    const answer = await app.request(request)
    const text = await answer.text()
    assert.ok(answer.headers.get('x-request-id'))
    assert.notEqual(answer.status, 500, `${text} ${JSON.stringify(failures.at(-1))}`)
    if (answer.status === 304 || request.method === 'HEAD') return { status: answer.status, document: undefined }
    const document: unknown = JSON.parse(text)
    if (answer.status !== 200) assert.match(String(Object(document).code), /^[a-z_]+$/)
    return { status: answer.status, document }
  }

  return {
    seeds: [
      { ...plan, body: { self: 'app@10.0.0.1', connected: ['app@10.0.0.2'] } },
      { ...plan, body: '{"self":"app@10.0.0.1","connected":[' },
      { ...plan, body: { self: 'app@10.0.0.1', connected: [], state: stateWith('app@10.0.0.2') } },
      { method: 'GET', path: '/v1/topologies', headers: agents },
      { method: 'GET', path: '/v1/topologies/web/members?wait=25s', headers: { ...agents, 'if-none-match': '*' } },
      { method: 'GET', path: '/v1/topologies/shop/members', headers: {} },
      { method: 'GET', path: '/healthz', headers: { 'x-request-id': 'a b' } },
      { method: 'PUT', path: member, headers: { ...agents, prefer: 'return=representation' }, body: lease },
      { method: 'PUT', path: member, headers: agents, body: { ...lease, status: 'leaving' } },
      { method: 'DELETE', path: `${member}?id=x`, headers: agents },
    ].map((asked) => JSON.stringify(asked)),
    words: [
      member,
      'content-length',
      'authorization',
      'if-none-match',
      'PATCH',
      'HEAD',
      '%ff',
      '%',
      'fd00::1',
      'n@[fd00::1]',
      '/../',
      '?id=',
    ],
    isJson: true,
    inputs: 8_000,

    async run(input) {
      time += 1_000
      failures.length = 0
      const asked = read(input)
      const answer = asked && (await ask(asked))
      const state: unknown = Object(answer?.document).state
      if (asked === undefined || answer?.status !== 200 || state === undefined) return
      planned++
      const again = await ask({ ...asked, body: { ...Object(asked.body), state } })
      assert.equal(again?.status, 200, JSON.stringify(again))
    },

    checkReach() {
      assert.ok(planned > 0)
    },
  }
}

function stateWith(node: string): object {
  const source = {
    listed: [node],
    missing: {},
    details: {},
    leavingClocks: {},
    returnedClocks: {},
    at: 1,
    outcome: 'complete',
  }
  const web = { clock: 5, formed: true, sources: { static: source }, removed: [], removalClocks: [], reported: [] }
  return { version: 1, self: 'app@10.0.0.1', at: 1, topologies: { web }, peers: { [node]: { attempt: 1, retryAt: 5 } } }
}

function read(input: Uint8Array): Asked | undefined {
  try {
    return Object(JSON.parse(Buffer.from(input).toString())) as Asked
  } catch {
    return undefined
  }
}

/** Undefined where no client could make such a request. */
function requestOf({ method, path, headers, body }: Asked): Request | undefined {
  const sent = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body)
  try {
    const url = new URL(String(path), 'http://127.0.0.1')
    const init = { method: String(method), headers: Object(headers) as Record<string, string> }
    return new Request(url, sent === undefined ? init : { ...init, body: sent })
  } catch {
    return undefined
  }
}
