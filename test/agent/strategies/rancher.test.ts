import assert from 'node:assert/strict'
import type { RequestListener } from 'node:http'
import { describe, it, type TestContext } from 'node:test'
import { openSource } from '../../../agent/strategies/index.ts'
import { rancherSource } from '../../../agent/strategies/rancher.ts'
import type { Observation } from '../../../core/member.ts'
import { plan } from '../../../core/plan.ts'
import { defaultPolicy } from '../../../core/policy.ts'
import type { State } from '../../../core/state.ts'
import { observe } from '../../../functions/resolvers/source.ts'
import { BAD_BODIES, flooding, nowhere, serveLoopback } from '../../contract/loopback.ts'
import { parseOptions, sourceContract } from '../../contract/source-contract.ts'
import { createFakeLog } from '../fakes.ts'
import { type Container, metadataService } from './rancher-metadata.ts'

const SELF = 'app@10.42.0.1'
const A: Container = { name: 'Mesh-web-1', uuid: 'u-1', state: 'running', health_state: 'healthy', ips: ['10.42.0.1'] }
const B: Container = { ...A, name: 'Mesh-web-2', uuid: 'u-2', ips: ['10.42.0.2'] }
const C: Container = { ...A, name: 'Mesh-web-3', uuid: 'u-3', ips: ['10.42.0.3'] }

/** The service `web` of the stack `mesh`, which the one who asks is part of, beside another stack. */
function web(...containers: Container[]): RequestListener {
  return metadataService({
    stacks: [
      {
        name: 'mesh',
        services: [
          { name: 'db', containers: null },
          { name: 'web', containers },
        ],
      },
      { name: 'other', services: [{ name: 'Store', containers: [C] }] },
    ],
    self: { stack: 'mesh', service: 'web' },
  })
}

const says =
  (body: string, status = 200): RequestListener =>
  (_request, response) =>
    void response.writeHead(status).end(body)

const world =
  (handle: RequestListener, rest: object = {}) =>
  async (t: TestContext) => {
    const { url, asked } = await serveLoopback(t, handle)
    return { options: { url }, asked, ...rest }
  }

sourceContract({
  name: 'rancher',
  kind: 'rancher',
  load: () => rancherSource,
  self: SELF,
  good: { url: 'http://rancher-metadata', stack: 'mesh', service: 'web', basename: 'app', timeout: '2s' },
  bad: { url: 'ftp://rancher-metadata', stack: 5, service: [], basename: '', timeout: 'soon' },
  lists: world(web(A, B, B), { nodes: [SELF, 'app@10.42.0.2'] }),
  nobody: world(
    metadataService({
      stacks: [{ name: 's', services: [{ name: 'web', containers: null }] }],
      self: { stack: 's', service: 'web' },
    }),
  ),
  flawed: {
    'a container without addresses': world(web(A, { ...B, ips: [] }), { nodes: [SELF] }),
    'a container whose address is none': world(web(A, { ...B, ips: ['\0'] }), { nodes: [SELF] }),
  },
  failing: {
    'a 404': world(metadataService({ stacks: [] }), { code: 'http_404' }),
    'a 500': world(says('oops', 500), { code: 'http_500' }),
    'a redirect': world((_request, response) => void response.writeHead(302, { Location: '/x' }).end(), {
      code: 'http_302',
    }),
    'an empty list of services': world(says('[]'), { code: 'no_service' }),
    'a service without the key containers': world(says('{"name":"web"}'), { code: 'bad_answer' }),
    'a port where nobody listens': async () => ({ options: { url: await nowhere() }, code: 'unreachable' }),
    ...Object.fromEntries(
      Object.entries(BAD_BODIES).map(([what, body]) => [what, world(says(body), { code: 'bad_answer' })]),
    ),
  },
  hangs: world(() => undefined),
  floods: world(flooding('{"containers":['), { code: 'bad_answer' }),
})

async function look(t: TestContext, handle: RequestListener, options: object = {}): Promise<Observation> {
  const { url } = await serveLoopback(t, handle)
  const { signal } = new AbortController()
  const context = { source: 'rancher', self: SELF, signal, now: () => 1_000, log: createFakeLog(), fetch }
  return await observe(rancherSource, parseOptions('rancher', { url, ...options }), context)
}

const nodesOf = ({ members = [] }: Observation) => members.map(({ node }) => node)

describe('the rancher source', () => {
  it('lists the containers of the own service, their uuid as id', async (t) => {
    assert.deepEqual(await look(t, web(A, B)), {
      source: 'rancher',
      at: 1_000,
      outcome: 'complete',
      members: [
        { node: SELF, status: 'up', id: 'u-1' },
        { node: 'app@10.42.0.2', status: 'up', id: 'u-2' },
      ],
    })
  })

  it('lists another service of the own stack, or one of another stack, under the basename that it is told', async (t) => {
    assert.deepEqual(nodesOf(await look(t, web(A), { stack: 'other', service: 'Store', basename: 'db' })), [
      'db@10.42.0.3',
    ])
    assert.deepEqual(await look(t, web(A), { service: 'db' }), {
      source: 'rancher',
      at: 1_000,
      outcome: 'complete',
      members: [],
    })
  })

  it('finds the metadata service below a path as well', async (t) => {
    const paths: (string | undefined)[] = []
    const { url } = await serveLoopback(t, (request, response) => {
      paths.push(request.url)
      says('{"containers":null}')(request, response)
    })
    await observe(rancherSource, parseOptions('rancher', { url: `${url}/proxy/` }), {
      source: 'rancher',
      self: SELF,
      signal: new AbortController().signal,
      now: () => 1_000,
      log: createFakeLog(),
      fetch,
    })
    assert.deepEqual(paths, ['/proxy/latest/self/service'])
  })

  it('says that a stopping container leaves, and lists an unhealthy one', async (t) => {
    const observation = await look(t, web(A, { ...B, state: 'stopping' }, { ...C, health_state: 'unhealthy' }))
    assert.equal(observation.outcome, 'complete')
    assert.deepEqual(
      observation.members?.map(({ status }) => status),
      ['up', 'leaving', 'up'],
    )
  })

  it('says what the service said and what to check when it is refused', async (t) => {
    const observation = await look(t, metadataService({ stacks: [] }), { stack: 'mesh', service: 'web' })
    assert.match(
      observation.outcome === 'failed' ? observation.error.message : '',
      /^\[rancher\] expected 200 from http:.*\/latest\/stacks\/mesh\/services\/web, got 404 .*Not found.*: check stack and service/,
    )
  })

  it('fails with what is missing when nobody says a basename', async (t) => {
    const { url } = await serveLoopback(t, web(A))
    const opened = await openSource(
      { id: 'r', kind: 'rancher', options: parseOptions('rancher', { url }) },
      { topology: 'web', intervalMs: 5_000, log: createFakeLog() },
    )
    const observation = await opened.look(new AbortController().signal)
    assert.equal(observation.outcome === 'failed' && observation.error.code, 'config')
  })
})

// What libcluster 3.5.0 does at each of these, two nodes being known and connected, stands beside it.
describe('what makes libcluster cut everybody, or end', () => {
  const table: [what: string, handle: RequestListener, libcluster: string, here: string][] = [
    ['a 500', says('oops', 500), 'cuts all', 'http_500'],
    ['a 404', metadataService({ stacks: [] }), 'cuts all', 'http_404'],
    ['an empty list', says('[]'), 'cuts all', 'no_service'],
    ['no key containers', says('{"name":"web"}'), 'cuts all', 'bad_answer'],
    ['no containers', web(), 'cuts all', 'complete'],
    ['a page', says('<html></html>'), 'crashes', 'bad_answer'],
    ['a container without ips', web(A, { name: 'x', state: 'running' }), 'crashes', 'partial'],
    ['a container with no address in ips', web(A, { ...B, ips: [] }), 'crashes', 'partial'],
  ]
  for (const [what, handle, libcluster, here] of table) {
    it(`cuts nobody here, and is told: ${what} (libcluster ${libcluster})`, async (t) => {
      const observations = [await look(t, web(A, B, C)), await look(t, handle)]
      const links = ['app@10.42.0.2', 'app@10.42.0.3']
      let state: State | undefined
      // Once every 5 s for far longer than grace and confirm.
      for (let round = 0; round < 200; round++) {
        const now = 1_000_000 + 5_000 * round
        const observation = { ...(observations[Math.min(round, 1)] as Observation), at: now }
        const web_ = { sources: ['rancher'], intervalMs: 5_000, policy: defaultPolicy, observations: [observation] }
        const made = plan(state, { self: SELF, now, links, topologies: { web: web_ } })
        state = made.state
        assert.deepEqual(made.disconnect, [])
        assert.equal(made.leave, false)
        if (round === 0) continue
        const { outcome, error, doubted } = made.topologies.web?.sources.rancher ?? {}
        assert.equal(error?.code ?? outcome, here)
        if (here === 'complete') assert.equal(doubted, true)
      }
    })
  }
})
