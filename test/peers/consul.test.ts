import assert from 'node:assert/strict'
import { after, before, suite, test, type TestContext } from 'node:test'
import { systemClock } from '../../agent/clock.ts'
import { createConsulSource } from '../../agent/strategies/consul.ts'
import type { Observation } from '../../core/member.ts'
import { observe } from '../../functions/resolvers/source.ts'
import { createFakeLog } from '../agent/fakes.ts'
import { parseOptions } from '../contract/source-contract.ts'
import { type Consul, startConsul } from './consul.ts'
import { freePort } from './erlang.ts'
import { missingPrograms } from './programs.ts'
import { until } from './until.ts'

const SELF = 'app@10.0.0.1'
const TOKEN = '11111111-1111-1111-1111-111111111111'

suite('The consul source beside a real Consul', { skip: missingPrograms('consul'), timeout: 120_000 }, () => {
  let open: Consul
  let closed: Consul

  before(async () => {
    open = await startConsul({ datacenter: 'dc1' })
    closed = await startConsul({ datacenter: 'dc2', join: open.wan, token: TOKEN })
    await register(open, 'web', '10.0.0.1')
    await register(closed, 'web', '10.2.0.1')
  })
  after(async () => {
    await open.kill()
    await closed.kill()
  })

  const register = (consul: Consul, service: string, address: string, rest: object = {}) =>
    consul.call('PUT', '/v1/agent/service/register', {
      ID: `${service}-${address}`,
      Name: service,
      Address: address,
      Port: 4_000,
      ...rest,
    })
  const deregister = (consul: Consul, id: string) => consul.call('PUT', `/v1/agent/service/deregister/${id}`)

  function contextOf(signal: AbortSignal, intervalMs: number) {
    return { source: 'consul', self: SELF, signal, now: systemClock.now, intervalMs, log: createFakeLog(), fetch }
  }

  async function look(consul: Consul, options: Record<string, unknown> = {}): Promise<Observation> {
    const parsed = parseOptions('consul', { url: consul.url, service: 'web', ...options })
    return await observe(createConsulSource(), parsed, contextOf(new AbortController().signal, 5_000))
  }

  /** Reads a watch until an observation is wanted. */
  function follow(
    t: TestContext,
    url: string,
    { intervalMs = 5_000, ...options }: Record<string, unknown> & { intervalMs?: number },
  ) {
    const ended = new AbortController()
    const parsed = parseOptions('consul', { url, ...options })
    const source = createConsulSource()
    const iterator = source.watch?.(parsed as never, contextOf(ended.signal, intervalMs))[Symbol.asyncIterator]()
    t.after(async () => {
      ended.abort()
      await iterator?.return?.()
    })
    return async (isWanted: (observation: Observation) => boolean = () => true): Promise<Observation> => {
      for (;;) {
        const { done, value } = (await iterator?.next()) ?? {}
        if (done !== false || value === undefined) return assert.fail('expected the watch to go on')
        if (isWanted(value)) return value
      }
    }
  }

  const nodesOf = ({ members = [] }: Observation) => members.map(({ node }) => node)
  const codeOf = (observation: Observation) =>
    observation.outcome === 'failed' ? observation.error.code : observation.outcome

  test('lists who is registered, by service or node address, and nobody of a service that is not there', async () => {
    await register(open, 'plain', '', { ID: 'plain-1' })
    await register(open, 'plain', 'fd00:0::2')
    assert.deepEqual(nodesOf(await look(open, { service: 'plain' })), ['app@127.0.0.1', 'app@fd00::2'])
    const none = await look(open, { service: 'nobody' })
    assert.deepEqual([none.outcome, none.members], ['complete', []])
  })

  test('leaves out who does not pass, unless all are wanted', async () => {
    await register(open, 'checked', '10.0.0.1')
    await register(open, 'checked', '10.0.0.2', { Check: { TTL: '1h', Status: 'critical' } })
    assert.deepEqual(nodesOf(await look(open, { service: 'checked' })), [SELF])
    assert.deepEqual(nodesOf(await look(open, { service: 'checked', passing: false })), [SELF, 'app@10.0.0.2'])
  })

  test('is told of a change at once, however long its interval', async (t) => {
    const next = follow(t, open.url, { service: 'pushed', intervalMs: 240_000 })
    await next()
    await register(open, 'pushed', '10.0.0.7')
    assert.deepEqual(nodesOf(await next(({ members = [] }) => members.length === 1)), ['app@10.0.0.7'])
    await deregister(open, 'pushed-10.0.0.7')
    const gone = await next(({ members = [] }) => members.length === 0)
    assert.equal(gone.outcome, 'complete')
  })

  test('gives the same set again within each interval', async (t) => {
    const next = follow(t, open.url, { service: 'web', intervalMs: 500 })
    let last = await next()
    for (let count = 0; count < 4; count++) {
      const again = await next()
      assert.deepEqual(nodesOf(again), [SELF])
      assert.ok(again.at > last.at)
      last = again
    }
  })

  test('tells a token that is unknown, one that may see nothing, and none, from nobody', async () => {
    assert.equal(codeOf(await look(closed, { token: '22222222-2222-2222-2222-222222222222' })), 'http_403')
    assert.equal(codeOf(await look(closed)), 'acl_filtered')
    const policy = { Name: 'other', Rules: 'service "other" { policy = "read" }' }
    await closed.call('PUT', '/v1/acl/policy', policy)
    const created = JSON.parse(await closed.call('PUT', '/v1/acl/token', { Policies: [{ Name: 'other' }] })) as {
      SecretID: string
    }
    assert.equal(codeOf(await look(closed, { token: created.SecretID })), 'acl_filtered')
    assert.deepEqual(nodesOf(await look(closed, { token: TOKEN })), ['app@10.2.0.1'])
  })

  test('asks several datacenters by one agent, and is partial without one of them', async () => {
    const both = { datacenters: ['dc1', 'dc2'], token: TOKEN }
    await until('dc2 to be joined', async () => (await look(open, both)).outcome === 'complete')
    assert.deepEqual(nodesOf(await look(open, both)), [SELF, 'app@10.2.0.1'])
    const observation = await look(open, { ...both, datacenters: ['dc1', 'dc7'] })
    assert.equal(observation.outcome, 'partial')
    assert.deepEqual(nodesOf(observation), [SELF])
    assert.match(observation.outcome === 'partial' ? observation.reason : '', /dc=dc7.*500 No path to datacenter/)
    assert.equal(codeOf(await look(open, { datacenters: ['dc7'] })), 'http_500')
  })

  test('fails when the agent dies amid a wait, and lists again what a new one knows, whose index is lower', async (t) => {
    const port = await freePort()
    const first = await startConsul({ datacenter: 'dc3', port })
    t.after(() => first.kill())
    for (let count = 1; count <= 20; count++) await register(first, 'web', `10.3.0.${count}`)
    const next = follow(t, first.url, { service: 'web', intervalMs: 1_000 })
    assert.equal((await next(({ members = [] }) => members.length === 20)).outcome, 'complete')
    await first.kill()
    const failed = await next(({ outcome }) => outcome === 'failed')
    assert.equal(codeOf(failed), 'unreachable')
    const second = await startConsul({ datacenter: 'dc3', port })
    t.after(() => second.kill())
    await register(second, 'web', '10.3.0.1')
    const back = await next(({ members = [] }) => members.length === 1)
    assert.deepEqual([back.outcome, nodesOf(back)], ['complete', ['app@10.3.0.1']])
  })
})
