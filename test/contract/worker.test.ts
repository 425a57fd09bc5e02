import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { membersDocumentSchema, registeredDocumentSchema } from '../../core/wire.ts'
import { describeContract, type Host, refusal } from './contract.ts'
import { startUpstream } from './upstream.ts'

// wrangler reads them when it is loaded: nothing of a test goes out to the network.
Object.assign(process.env, { CLOUDFLARE_CF_FETCH_ENABLED: 'false', WRANGLER_SEND_METRICS: 'false' })
const { createTestHarness } = await import('wrangler')

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

interface WorkerHost extends Host {
  logs(): string[]
  objects(): Promise<string[]>
  /** Asks the other isolate. */
  elsewhere: Host['fetch']
}

// One more isolate in front of the same objects, as there is at each place of the edge.
const OTHER = {
  name: 'other',
  main: 'functions/worker.ts',
  compatibility_date: '2026-10-30',
  compatibility_flags: ['nodejs_compat'],
  durable_objects: { bindings: [{ name: 'REGISTRY', class_name: 'RegistryObject', script_name: 'rollcall' }] },
}

/** The Worker as wrangler.toml deploys it, in a real workerd, with variables of its own. */
async function startWorker(vars: Record<string, string>, { isolates = 1 } = {}): Promise<WorkerHost> {
  const workers = [{ configPath: 'wrangler.toml', vars }, { config: { ...OTHER, vars } }]
  const harness = createTestHarness({ root: ROOT, workers: workers.slice(0, isolates) })
  await harness.listen()
  return {
    fetch: async (path, init) => await harness.fetch(path, init as never),
    elsewhere: async (path, init) => await harness.getWorker('other').fetch(`http://other.test${path}`, init as never),
    close: () => harness.close(),
    objects: () => harness.getWorker().listDurableObjectIds('REGISTRY'),
    logs: () => harness.getLogs().map(({ message }) => message),
  }
}

describeContract({
  name: 'Cloudflare Workers',
  registry: { store: 'durable-object' },
  waits: 'registry',
  start: (config) => startWorker({ ROLLCALL_CONFIG: JSON.stringify(config) }),
})

describe('the worker', () => {
  const hosts: Host[] = []

  async function start(...given: Parameters<typeof startWorker>): Promise<WorkerHost> {
    const host = await startWorker(...given)
    hosts.push(host)
    return host
  }

  after(async () => {
    for (const host of hosts) await host.close()
  })

  it('serves nobody until its config says who may call', async () => {
    const topologies = { web: { sources: [{ static: { nodes: ['a@h'] } }] } }
    const worker = await start({ ROLLCALL_CONFIG: JSON.stringify({ topologies }) })
    assert.deepEqual(await refusal(await worker.fetch('/v1/topologies/web/members')), [503, 'auth_not_configured'])
    assert.equal((await worker.fetch('/healthz')).status, 200)
    assert.deepEqual(await refusal(await worker.fetch('/readyz')), [404, 'not_found'])
  })

  it('says in its log, and only there, what is wrong with its config', async () => {
    const worker = await start({ ROLLCALL_CONFIG: '{"topologies":{},"token":"hunter2"}' })
    const response = await worker.fetch('/v1/topologies')
    assert.deepEqual(await refusal(response), [503, 'config'])
    const logs = worker.logs().join('\n')
    assert.match(logs, /ROLLCALL_CONFIG: .*unknown key token/)
    assert.doesNotMatch(logs, /hunter2/)
  })

  it('keeps no leases in an isolate, which is one of many and ends at any time', async () => {
    const topologies = { web: { sources: [{ registry: {} }] } }
    const worker = await start({ ROLLCALL_CONFIG: JSON.stringify({ topologies, auth: 'none' }) })
    assert.deepEqual(await refusal(await worker.fetch('/v1/topologies/web/members')), [503, 'config'])
    assert.match(worker.logs().join('\n'), /a store of this host \(durable-object\), got memory/)
  })

  it('says the same of a registry in every isolate, and at one wakes who waits when somebody registers at another', async () => {
    const topologies = { web: { sources: [{ registry: { store: 'durable-object' } }] } }
    const vars = { ROLLCALL_CONFIG: JSON.stringify({ topologies, auth: 'none' }) }
    const worker = await start(vars, { isolates: 2 })
    const path = '/v1/topologies/web/members'
    const [first, second] = await Promise.all([worker.fetch(path), worker.elsewhere(path)])
    const known = first.headers.get('etag') ?? ''
    assert.match(known, /^W\/"[0-9a-f]+"$/)
    assert.equal(second.headers.get('etag'), known)
    const headers = { 'if-none-match': known }
    const waiting = worker.fetch(`${path}?wait=25s`, { headers })
    // Sent after it and answered before it: by then the first waits.
    assert.equal((await worker.elsewhere(`${path}?wait=50ms`, { headers })).status, 304)
    const put = await worker.elsewhere(`${path}/a@h`, { method: 'PUT', body: '{"id":"1"}' })
    const { revision } = registeredDocumentSchema.parse(await put.json())
    const woken = await waiting
    assert.deepEqual([woken.status, woken.headers.get('etag')], [200, `W/"${revision}"`])
    const documents = [woken, await worker.elsewhere(path)].map(async (answer) =>
      membersDocumentSchema.parse(await answer.json()),
    )
    const [atFirst, atOther] = await Promise.all(documents)
    assert.deepEqual(atFirst?.members, atOther?.members)
    assert.equal(atOther?.revision, revision)
    assert.equal((await worker.objects()).length, 1)
  })

  it('asks for those who wait at an object, once per interval, though whoever began is gone', async (t) => {
    const upstream = await startUpstream()
    t.after(() => upstream.close())
    const dns = { query: 'mixed.test', server: upstream.server, types: ['A'], basename: 'app' }
    const sources = [{ registry: { store: 'durable-object' } }, { dns }]
    const topologies = { web: { interval: '500ms', sources } }
    const worker = await start({ ROLLCALL_CONFIG: JSON.stringify({ topologies, auth: 'none' }) })
    const path = '/v1/topologies/web/members'
    upstream.say('mixed.test', 'silence')
    const startedAt = performance.now()
    const gone = new AbortController()
    const refused = assert.rejects(worker.fetch(path, { signal: gone.signal }))
    await upstream.whenAsked('mixed.test', 1)
    const other = worker.fetch(path)
    gone.abort()
    await refused
    upstream.say('mixed.test', ['10.0.0.1'])
    const first = await other
    assert.equal(first.status, 200)
    const headers = { 'if-none-match': first.headers.get('etag') ?? '' }
    const waiting = Array.from({ length: 100 }, () => worker.fetch(`${path}?wait=25s`, { headers }))
    await upstream.whenAsked('mixed.test', 4)
    const intervals = (performance.now() - startedAt) / 500
    assert.ok(upstream.asked('mixed.test') <= 1 + intervals + 0.1, 'none of a hundred asks for itself')
    upstream.say('mixed.test', ['10.0.0.2'])
    for (const response of await Promise.all(waiting)) assert.equal(response.status, 200)
  })

  it('has one object for each topology with a registry, and none for a name that a stranger makes up', async () => {
    const registry = { store: 'durable-object' }
    const topologies = { one: { sources: [{ registry }] }, other: { sources: [{ registry }] } }
    const worker = await start({ ROLLCALL_CONFIG: JSON.stringify({ topologies, auth: 'none' }) })
    const put = { method: 'PUT', body: '{"id":"1"}' }
    assert.equal((await worker.fetch('/v1/topologies/o%6Ee/members/a@h', put)).status, 200)
    assert.deepEqual(await refusal(await worker.fetch('/v1/topologies/third/members/a@h', put)), [
      404,
      'unknown_topology',
    ])
    const namesIn = async (topology: string) => {
      const document = membersDocumentSchema.parse(
        await (await worker.fetch(`/v1/topologies/${topology}/members`)).json(),
      )
      return document.members.map(({ node }) => node)
    }
    assert.deepEqual([await namesIn('one'), await namesIn('other')], [['a@h'], []])
    assert.equal((await worker.objects()).length, 2)
  })
})
