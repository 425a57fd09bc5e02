import assert from 'node:assert/strict'
import { it } from 'node:test'
import * as z from 'zod/mini'
import { membersDocumentSchema, registeredDocumentSchema } from '../../core/wire.ts'
import { type Host, NODE_TOKEN, READER_TOKEN, refusal, TOKEN } from './contract.ts'

const representedSchema = z.extend(membersDocumentSchema, { ttlMs: z.number() })

export interface RegistryContractOptions {
  host: () => Host
  /** Whether a caller may wait for a change of a topology with a registry. */
  waits: boolean
}

/** What the registry of a host does over HTTP. Each test has nodes of its own, for all are of one topology. */
export function describeRegistry({ host, waits }: RegistryContractOptions): void {
  function call(method: string, path: string, { token = TOKEN, headers = {}, ...init }: CallOptions = {}) {
    return host().fetch(path, { method, headers: { authorization: `Bearer ${token}`, ...headers }, ...init })
  }

  function put(node: string, body: object | string, options: CallOptions & { topology?: string } = {}) {
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    const { topology = 'registered', ...rest } = options
    return call('PUT', `/v1/topologies/${topology}/members/${node}`, { body: text, ...rest })
  }

  const remove = (node: string, id: string, options: CallOptions = {}) =>
    call('DELETE', `/v1/topologies/registered/members/${node}?id=${id}`, options)

  async function members(path = '/v1/topologies/registered/members') {
    return membersDocumentSchema.parse(await (await call('GET', path)).json())
  }

  async function statusOf(node: string): Promise<string | undefined> {
    return (await members()).members.find((member) => member.node === node)?.status
  }

  it('lists who registers at once, with what it says of itself, and says how long the lease is', async () => {
    const meta = { zone: 'x' }
    const address = { host: '10.1.0.1', port: 4370 }
    const response = await put('app@10.1.0.1', { id: 'first', status: 'up', address, meta })
    assert.deepEqual([response.status, response.headers.get('cache-control')], [200, 'no-store'])
    const { ttlMs, revision } = registeredDocumentSchema.parse(await response.json())
    assert.equal(ttlMs, 30_000)
    const document = await members()
    assert.equal(document.revision, revision)
    assert.deepEqual(
      document.members.find(({ node }) => node === 'app@10.1.0.1'),
      { node: 'app@10.1.0.1', status: 'up', id: 'first', address, meta },
    )
  })

  it('answers a renewal with the same revision, and with the members where they are preferred', async () => {
    const first = registeredDocumentSchema.parse(await (await put('app@10.1.0.2', { id: '1', ttlMs: 5_000 })).json())
    assert.equal(first.ttlMs, 5_000)
    const headers = { prefer: 'respond-async, return=representation' }
    const response = await put('app@10.1.0.2', { id: '1', ttlMs: 5_000 }, { headers })
    assert.equal(response.headers.get('preference-applied'), 'return=representation')
    assert.equal(response.headers.get('content-location'), '/v1/topologies/registered/members')
    assert.equal(response.headers.get('etag'), `W/"${first.revision}"`)
    assert.match(response.headers.get('rollcall-age-ms') ?? '', /^\d+$/)
    const { ttlMs, ...document } = representedSchema.parse(await response.json())
    assert.deepEqual([ttlMs, document.revision], [5_000, first.revision])
    assert.ok(document.members.some(({ node }) => node === 'app@10.1.0.2'))
  })

  it('shows who leaves as leaving at once, and takes the start that left no more', async () => {
    await put('app@10.1.0.3', { id: 'old' })
    assert.equal((await remove('app@10.1.0.3', 'old')).status, 200)
    assert.equal(await statusOf('app@10.1.0.3'), 'leaving')
    assert.equal((await remove('app@10.1.0.3', 'old')).status, 200, 'twice is once')
    assert.deepEqual(await refusal(await put('app@10.1.0.3', { id: 'old' })), [409, 'left'])
    assert.equal((await put('app@10.1.0.3', { id: 'new' })).status, 200)
    assert.equal(await statusOf('app@10.1.0.3'), 'up')
    assert.deepEqual(await refusal(await remove('app@10.1.0.3', 'old')), [409, 'replaced'])
    assert.equal(await statusOf('app@10.1.0.3'), 'up')
  })

  it('takes a name as it is written in other sources, and one that a path cannot hold plainly', async () => {
    assert.equal((await put('app%40%5BFD00:0:0::1%5D', { id: '1' })).status, 200)
    assert.equal(await statusOf('app@fd00::1'), 'up')
    assert.equal((await put('app%2F%3F%23@10.1.0.4', { id: '1' })).status, 200)
    assert.equal(await statusOf('app/?#@10.1.0.4'), 'up')
  })

  it('refuses to register who may not, what is no node, and more than the topology holds', async () => {
    const body = { id: '1' }
    const table: [Promise<Response>, number, string][] = [
      [host().fetch('/v1/topologies/registered/members/a@h', { method: 'PUT', body: '{}' }), 401, 'unauthenticated'],
      [put('a@h', body, { token: READER_TOKEN }), 403, 'verb_forbidden'],
      [put('app@11.0.0.1', body, { token: NODE_TOKEN }), 403, 'node_forbidden'],
      [put('a@h', body, { topology: 'hidden' }), 403, 'topology_forbidden'],
      [put('app@10.0.0.1', body, { topology: 'fixed' }), 404, 'no_registry'],
      [put('nobody', body), 400, 'bad_node'],
      [put('a%00@h', body), 400, 'bad_node'],
      [put('a%0A@h', body), 400, 'bad_node'],
      [put('a@h%C3%A9', body), 400, 'bad_node'],
      [put(`a@${'h'.repeat(300)}`, body), 400, 'bad_node'],
      [put('a@h', {}), 400, 'bad_body'],
      [put('a@h', { id: 'a b' }), 400, 'bad_body'],
      [put('a@h', { id: '1', meta: { pad: 'x'.repeat(1_000_000) } }), 413, 'body_too_large'],
      [call('DELETE', '/v1/topologies/registered/members/a@h'), 400, 'bad_query'],
      [call('POST', '/v1/topologies/registered/members/a@h', { body: '' }), 405, 'method_not_allowed'],
      [call('GET', '/v1/topologies/registered/members?wait=long'), 400, 'bad_query'],
    ]
    for (const [response, status, code] of table) assert.deepEqual(await refusal(await response), [status, code])
    assert.equal((await put('app@10.1.0.5', body, { token: NODE_TOKEN })).status, 200)
    for (const node of ['a@h', 'b@h', 'a@h']) {
      assert.equal((await put(node, body, { topology: 'crowded' })).status, 200)
    }
    const full = await put('c@h', body, { topology: 'crowded' })
    assert.equal(full.headers.get('retry-after'), '30')
    assert.deepEqual(await refusal(full), [503, 'registry_full'])
  })

  it('keeps every one of many that register at once', async () => {
    const nodes = Array.from({ length: 100 }, (_, index) => `app@10.2.0.${index}`)
    const responses = await Promise.all(nodes.map((node) => put(node, { id: '1' })))
    assert.ok(responses.every(({ status }) => status === 200))
    const listed = new Set((await members()).members.map(({ node }) => node))
    assert.deepEqual(
      nodes.filter((node) => !listed.has(node)),
      [],
    )
  })

  it('answers who waits for a change when somebody registers, or at once where it cannot wait', async () => {
    const { revision } = await members()
    const headers = { 'if-none-match': `W/"${revision}"` }
    const path = '/v1/topologies/registered/members?wait=25s'
    if (!waits) {
      const response = await call('GET', path, { headers })
      assert.deepEqual([response.status, response.headers.get('rollcall-wait')], [304, 'no'])
      return
    }
    const waiting = call('GET', path, { headers })
    const early = await Promise.race([waiting, call('GET', '/v1/topologies/registered/members?wait=50ms', { headers })])
    assert.deepEqual([early.status, early.headers.get('rollcall-wait')], [304, null])
    await put('app@10.1.0.6', { id: '1' })
    const response = await waiting
    assert.equal(response.status, 200)
    const document = membersDocumentSchema.parse(await response.json())
    assert.ok(document.members.some(({ node }) => node === 'app@10.1.0.6'))
    assert.notEqual(document.revision, revision)
  })
}

interface CallOptions {
  token?: string
  headers?: Record<string, string>
  body?: string
}
