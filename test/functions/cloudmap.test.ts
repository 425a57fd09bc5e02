import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { createCloudmapSource } from '../../functions/resolvers/cloudmap.ts'
import { observe } from '../../functions/resolvers/source.ts'
import { BAD_BODIES, flooding, nowhere } from '../contract/loopback.ts'
import { type Opens, sourceContract } from '../contract/source-contract.ts'
import { withCredentials } from './aws-credentials.ts'
import { type AwsServer, cloudmapError, type Reply, serveAws } from './aws-server.ts'

const NODES = ['app@10.0.0.1', 'app@10.0.0.2', 'app@fd00::3']
const INSTANCES = [
  {
    InstanceId: 'task-1',
    HealthStatus: 'HEALTHY',
    Attributes: { AWS_INSTANCE_IPV4: '10.0.0.1', AWS_INSTANCE_PORT: '80' },
  },
  {
    InstanceId: 'task-2',
    HealthStatus: 'UNKNOWN',
    Attributes: { AWS_INSTANCE_IPV4: '10.0.0.2', AWS_INSTANCE_IPV6: 'fd00::2' },
  },
  { InstanceId: 'task-3', HealthStatus: 'HEALTHY', Attributes: { AWS_INSTANCE_IPV6: 'fd00:0:0::3' } },
]
const quiet = { debug() {}, info() {}, warn() {}, error() {} }
const env = { AWS_EC2_METADATA_DISABLED: 'true' }
const SERVICE = { namespace: 'prod', service: 'web', region: 'eu-west-1' }

withCredentials()

function list(instances: readonly unknown[], revision?: number): Reply {
  return { body: JSON.stringify({ Instances: instances, InstancesRevision: revision }) }
}

/** A world in which Cloud Map answers each call in the same way. */
function answering(reply: Parameters<typeof serveAws>[1], rest: object = {}): Opens {
  return async (t) => {
    const { url, asked } = await serveAws(t, reply)
    return { options: { ...SERVICE, endpoint: url }, nodes: NODES, asked, ...rest }
  }
}

const listing = (instances: readonly unknown[]) => answering(() => list(instances))

sourceContract({
  name: 'cloudmap',
  kind: 'cloudmap',
  load: () => createCloudmapSource({ env }),
  good: { ...SERVICE, health: 'all', attributes: { stage: 'blue' }, basename: 'app', timeout: '2s' },
  bad: {
    namespace: '',
    service: 5,
    region: 'eu-west-1.evil.test',
    health: 'well',
    attributes: { stage: 5 },
    basename: '',
    endpoint: 'ftp://a',
    timeout: 'soon',
  },
  lists: listing([...INSTANCES, ...INSTANCES.slice(1)]),
  nobody: listing([]),
  flawed: {
    'an instance without an address': listing([
      ...INSTANCES,
      { InstanceId: 'task-9', Attributes: { AWS_INSTANCE_CNAME: 'a.test' } },
    ]),
    'an instance with a broken address': listing([
      ...INSTANCES,
      { InstanceId: 'task-9', Attributes: { AWS_INSTANCE_IPV4: '10.0.0' } },
    ]),
    'an instance without an id': listing([{ Attributes: { AWS_INSTANCE_IPV4: '10.0.0.9' } }, ...INSTANCES]),
    'entries that are no instances': listing([null, 5, 'a', [], {}, ...INSTANCES]),
    'an answer as long as there can be': answering(() =>
      list(Array.from({ length: 1_000 }, (_, index) => INSTANCES[index % 3])),
    ),
  },
  failing: {
    'a throttled call': answering(() => cloudmapError('ThrottlingException'), { code: 'throttled' }),
    'too many requests': answering(() => cloudmapError('RequestLimitExceeded'), { code: 'throttled' }),
    'an expired token': answering(() => cloudmapError('ExpiredTokenException'), { code: 'credentials_refused' }),
    'unknown credentials': answering(() => cloudmapError('UnrecognizedClientException'), {
      code: 'credentials_refused',
    }),
    'a missing permission': answering(() => cloudmapError('AccessDeniedException'), { code: 'forbidden' }),
    'a service that there is not': answering(() => cloudmapError('ServiceNotFound'), { code: 'no_service' }),
    'a namespace that there is not': answering(() => cloudmapError('NamespaceNotFound'), { code: 'no_service' }),
    'an error of its own': answering(() => cloudmapError('InternalFailure', 500), { code: 'http_500' }),
    'a 503 of something between': answering(() => ({ status: 503, body: '<html>busy</html>' }), { code: 'http_503' }),
    'half a list': answering(() => ({ body: list(INSTANCES).body.slice(0, -40) }), { code: 'bad_answer' }),
    'an answer without a list': answering(() => ({ body: '{"InstancesRevision":5}' }), { code: 'bad_answer' }),
    'a list that is none': answering(() => ({ body: '{"Instances":{"0":{"InstanceId":"a"}}}' }), {
      code: 'bad_answer',
    }),
    'a connection that breaks': answering(() => (_, response) => response.destroy(), { code: 'unreachable' }),
    'an answer that comes too late': async (t) => {
      const world = await answering(() => () => undefined, { code: 'timeout' })(t)
      return { ...world, options: { ...world.options, timeout: 50 } }
    },
    'nobody at the endpoint': async () => ({ options: { ...SERVICE, endpoint: await nowhere() }, code: 'unreachable' }),
    ...Object.fromEntries(
      Object.entries(BAD_BODIES).map(([name, body]) => [name, answering(() => ({ body }), { code: 'bad_answer' })]),
    ),
  },
  hangs: answering(() => () => undefined),
  floods: answering(() => flooding('{"Instances":['), { code: 'bad_answer' }),
})

function lookWith(
  source: ReturnType<typeof createCloudmapSource>,
  { url }: Pick<AwsServer, 'url'>,
  options: object = {},
  at = 1_000,
) {
  const given = source.options.parse({ ...SERVICE, endpoint: url, basename: 'app', ...options })
  const { signal } = new AbortController()
  return observe(source, given, { source: 'cloudmap', signal, now: () => at, log: quiet, fetch })
}

describe('the source cloudmap', { timeout: 60_000 }, () => {
  it('asks for the healthy instances with the attributes, as many as there can be', async (t) => {
    const server = await serveAws(t, () => list(INSTANCES))
    const seen = await lookWith(createCloudmapSource({ env }), server, { attributes: { stage: 'blue' } })
    assert.deepEqual(seen, {
      source: 'cloudmap',
      at: 1_000,
      outcome: 'complete',
      members: NODES.map((node, index) => ({ node, status: 'up', id: `task-${index + 1}` })),
    })
    await lookWith(createCloudmapSource({ env }), server, { health: 'all' })
    const common = { NamespaceName: 'prod', ServiceName: 'web', MaxResults: 1_000 }
    assert.deepEqual(
      server.calls.map(({ operation, input }) => ({ operation, ...input })),
      [
        { operation: 'DiscoverInstances', ...common, HealthStatus: 'HEALTHY', QueryParameters: { stage: 'blue' } },
        { operation: 'DiscoverInstances', ...common, HealthStatus: 'ALL' },
      ],
    )
    assert.match(server.calls[0]?.headers.authorization ?? '', /\/eu-west-1\/servicediscovery\//)
  })

  it('lists unhealthy instances as up when it is told to list all', async (t) => {
    const server = await serveAws(t, () => list([{ ...INSTANCES[0], HealthStatus: 'UNHEALTHY' }]))
    const { members } = await lookWith(createCloudmapSource({ env }), server, { health: 'all' })
    assert.deepEqual(members, [{ node: 'app@10.0.0.1', status: 'up', id: 'task-1' }])
  })

  it('asks for the revision alone while that stays, and for all once it has moved', async (t) => {
    let revision = 7
    const server = await serveAws(t, ({ operation }) =>
      operation === 'DiscoverInstances'
        ? list(INSTANCES.slice(0, revision - 6), revision)
        : { body: JSON.stringify({ InstancesRevision: revision }) },
    )
    const source = createCloudmapSource({ env })
    const counts = []
    for (const [at, next] of [
      [1_000, 7],
      [6_000, 7],
      [11_000, 8],
      [16_000, 8],
      // It can go backwards: https://developer.hashicorp.com/consul/api-docs/features/blocking says so of Consul's, too.
      [21_000, 7],
    ] as const) {
      revision = next
      const { outcome, at: told, members } = await lookWith(source, server, {}, at)
      assert.deepEqual([outcome, told], ['complete', at])
      counts.push(members?.length)
    }
    assert.deepEqual(counts, [1, 1, 2, 2, 1])
    assert.deepEqual(
      server.calls.map(({ operation }) => operation.replace('DiscoverInstances', '') || 'All'),
      ['All', 'Revision', 'Revision', 'All', 'Revision', 'Revision', 'All'],
    )
  })

  it('asks for all every 30 s, for health moves no revision, and when the clock was set back', async (t) => {
    const server = await serveAws(t, () => list(INSTANCES, 7))
    const source = createCloudmapSource({ env })
    for (const at of [1_000, 30_999, 31_000, 36_000, 5_000]) {
      assert.equal((await lookWith(source, server, {}, at)).outcome, 'complete')
    }
    assert.deepEqual(
      server.calls.map(({ operation }) => operation.replace('DiscoverInstances', '') || 'All'),
      ['All', 'Revision', 'All', 'Revision', 'All'],
    )
  })

  it('fails when the revision cannot be had, and knows then what it knew', async (t) => {
    let isThrottled = false
    const server = await serveAws(t, ({ operation }) =>
      isThrottled && operation === 'DiscoverInstancesRevision'
        ? cloudmapError('ThrottlingException')
        : list(INSTANCES, 7),
    )
    const source = createCloudmapSource({ env })
    await lookWith(source, server)
    isThrottled = true
    const failed = await lookWith(source, server, {}, 6_000)
    assert.deepEqual(failed.outcome === 'failed' && [failed.error.code, failed.error.retryAfterMs], [
      'throttled',
      15_000,
    ])
    isThrottled = false
    const { members } = await lookWith(source, server, {}, 11_000)
    assert.equal(members?.length, 3)
    assert.equal(server.calls.filter(({ operation }) => operation === 'DiscoverInstances').length, 1)
  })

  it('stays partial while the revision of an answer that was too long stays', async (t) => {
    const full = Array.from({ length: 1_000 }, (_, index) => INSTANCES[index % 3])
    const server = await serveAws(t, () => list(full, 7))
    const source = createCloudmapSource({ env })
    for (const at of [1_000, 6_000]) assert.equal((await lookWith(source, server, {}, at)).outcome, 'partial')
  })

  it('finds an endpoint that the environment names, and has no host before it', async (t) => {
    const server = await serveAws(t, () => list(INSTANCES))
    process.env['AWS_ENDPOINT_URL_SERVICEDISCOVERY'] = server.url
    t.after(() => delete process.env['AWS_ENDPOINT_URL_SERVICEDISCOVERY'])
    const source = createCloudmapSource()
    const { signal } = new AbortController()
    const options = source.options.parse({ ...SERVICE, basename: 'app' })
    const seen = await observe(source, options, { source: 'cloudmap', signal, now: () => 1_000, log: quiet, fetch })
    assert.equal(seen.outcome, 'complete', JSON.stringify(seen))
    assert.equal(server.calls[0]?.headers.host, new URL(server.url).host)
  })

  it('asks AWS itself by the host that its answers come from', async () => {
    const source = createCloudmapSource({ env })
    const { signal } = new AbortController()
    const hosts: string[] = []
    const fetch = async (url: unknown) => {
      hosts.push(new URL(String(url)).host)
      return new Response(list(INSTANCES).body)
    }
    const options = source.options.parse({ ...SERVICE, basename: 'app' })
    const seen = await observe(source, options, { source: 'cloudmap', signal, now: () => 1_000, log: quiet, fetch })
    assert.equal(seen.outcome, 'complete', JSON.stringify(seen))
    assert.deepEqual(hosts, ['data-servicediscovery.eu-west-1.amazonaws.com'])
  })
})
