import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { createEc2Source } from '../../functions/resolvers/ec2.ts'
import { observe, type SourceContext } from '../../functions/resolvers/source.ts'
import { BAD_BODIES, flooding, nowhere } from '../contract/loopback.ts'
import { type Opens, sourceContract } from '../contract/source-contract.ts'
import { type AwsServer, type Call, ec2Error, ec2Page, type Instance, serveAws, serveMetadata } from './aws-server.ts'
import { withCredentials } from './aws-credentials.ts'

const NODES = ['app@10.0.0.1', 'app@10.0.0.2', 'app@10.0.0.3']
const INSTANCES: Instance[] = [1, 2, 3].map((n) => ({ id: `i-0${n}`, ip: `10.0.0.${n}` }))
const quiet = { debug() {}, info() {}, warn() {}, error() {} }
// Whoever asks the metadata service without need would wait for it.
const env = { AWS_EC2_METADATA_DISABLED: 'true' }

withCredentials()

/** A world in which EC2 answers each call in the same way. */
function answering(reply: Parameters<typeof serveAws>[1], rest: object = {}): Opens {
  return async (t) => {
    const { url, asked } = await serveAws(t, reply)
    return { options: { region: 'eu-west-1', endpoint: url }, nodes: NODES, asked, ...rest }
  }
}

const listing = (instances: readonly Instance[]) => answering(() => ({ body: ec2Page(instances) }))

sourceContract({
  name: 'ec2',
  kind: 'ec2',
  load: () => createEc2Source({ env }),
  good: { region: 'eu-west-1', tags: { cluster: 'web', role: null }, address: 'ipv6', basename: 'app', timeout: '2s' },
  bad: {
    region: 'eu-west-1.evil.test',
    tags: { cluster: 5 },
    address: 'ip',
    basename: '',
    endpoint: 'ftp://a',
    timeout: 'soon',
  },
  lists: listing([...INSTANCES, ...INSTANCES.slice(1)]),
  nobody: listing([]),
  flawed: {
    'an instance without an address': listing([...INSTANCES, { id: 'i-09' }]),
    'an instance without an id': listing([{ ip: '10.0.0.9' }, ...INSTANCES]),
    'an instance in a state that nobody knows': listing([
      ...INSTANCES,
      { id: 'i-09', ip: '10.0.0.9', state: 'dreaming' },
    ]),
    'an instance with a broken address': listing([...INSTANCES, { id: 'i-09', ip: '10.0.0.900' }]),
    'a second page that is refused': answering((_, index) =>
      index === 0 ? { body: ec2Page(INSTANCES, 'page-2') } : ec2Error('InternalError', 500),
    ),
    'a second page that breaks off': answering((_, index) =>
      index === 0 ? { body: ec2Page(INSTANCES, 'page-2') } : { body: ec2Page(INSTANCES).slice(0, -200) },
    ),
    'pages without an end': answering(() => ({ body: ec2Page(INSTANCES, 'again') })),
  },
  failing: {
    'a throttled call': answering(() => ec2Error('RequestLimitExceeded', 503), { code: 'throttled' }),
    'an error of its own': answering(() => ec2Error('Unavailable', 503), { code: 'http_503' }),
    'a 503 of something between': answering(() => ({ status: 503, body: '<html>busy</html>' }), { code: 'http_503' }),
    'a 502 without a body': answering(() => ({ status: 502, body: '' }), { code: 'http_502' }),
    'expired credentials': answering(() => ec2Error('RequestExpired', 400), { code: 'credentials_refused' }),
    'an expired token': answering(() => ec2Error('ExpiredToken', 400), { code: 'credentials_refused' }),
    'unknown credentials': answering(() => ec2Error('AuthFailure', 401), { code: 'credentials_refused' }),
    'a missing permission': answering(() => ec2Error('UnauthorizedOperation', 403), { code: 'forbidden' }),
    'a redirect': answering(() => ({ status: 302, headers: { location: 'http://127.0.0.1:9/' }, body: '' }), {
      code: 'http_302',
    }),
    'half a page': answering(() => ({ body: ec2Page(INSTANCES).slice(0, -200) }), { code: 'bad_answer' }),
    'a page cut before its last tag': answering(
      () => ({ body: ec2Page(INSTANCES).replace('</DescribeInstancesResponse>', '') }),
      { code: 'bad_answer' },
    ),
    'an answer without reservations': answering(
      () => ({ body: ec2Page([]).replace('<reservationSet></reservationSet>', '') }),
      { code: 'bad_answer' },
    ),
    'a deep nesting of XML': answering(() => ({ body: '<a>'.repeat(100_000) }), { code: 'bad_answer' }),
    'nothing but flaws': answering(() => ({ body: ec2Page([{ id: 'i-09' }]) }), { code: 'bad_answer' }),
    'a connection that breaks': answering(() => (_, response) => response.destroy(), { code: 'unreachable' }),
    'a body that breaks off': answering(
      () => (_, response) => {
        response.writeHead(200, { 'content-length': '100000' })
        response.write(ec2Page(INSTANCES).slice(0, 200), () => response.destroy())
      },
      { code: 'unreachable' },
    ),
    'an answer that comes too late': async (t) => {
      const world = await answering(() => () => undefined, { code: 'timeout' })(t)
      return { ...world, options: { ...world.options, timeout: 50 } }
    },
    'nobody at the endpoint': async () => ({
      options: { region: 'eu-west-1', endpoint: await nowhere() },
      code: 'unreachable',
    }),
    'no region': async (t) => {
      const { url } = await serveAws(t, () => ({ body: ec2Page(INSTANCES) }))
      return { options: { endpoint: url }, code: 'no_region' }
    },
    'the own tag where there is no metadata': async (t) => {
      const { url } = await serveAws(t, () => ({ body: ec2Page(INSTANCES) }))
      return { options: { region: 'eu-west-1', endpoint: url, tags: { cluster: null } }, code: 'no_metadata' }
    },
    ...Object.fromEntries(
      Object.entries(BAD_BODIES).map(([name, body]) => [name, answering(() => ({ body }), { code: 'bad_answer' })]),
    ),
  },
  hangs: answering(() => () => undefined),
  floods: answering(() => flooding('<DescribeInstancesResponse><reservationSet>'), { code: 'bad_answer' }),
})

/** Looks once, as from no node. */
function lookWith(
  source: ReturnType<typeof createEc2Source>,
  { url }: Pick<AwsServer, 'url'>,
  options: object = {},
  context: Partial<SourceContext> = {},
) {
  const given = source.options.parse({ endpoint: url, basename: 'app', ...options })
  const { signal } = new AbortController()
  return observe(source, given, { source: 'ec2', signal, now: () => 1_000, log: quiet, fetch, ...context })
}

/** The filters of a call, by name. */
function filtersIn({ input }: Call): Record<string, string[]> {
  const names = Object.entries(input).filter(([key]) => key.endsWith('.Name'))
  return Object.fromEntries(
    names.map(([key, name]) => {
      const values = Object.keys(input).filter((each) => each.startsWith(key.replace('Name', 'Value.')))
      return [name, values.map((each) => String(input[each]))]
    }),
  )
}

const STATES = { 'instance-state-name': ['pending', 'running', 'shutting-down', 'stopping'] }
const web = () => ({ body: ec2Page(INSTANCES) })

describe('the source ec2', { timeout: 60_000 }, () => {
  it('asks page after page until there is no token, for the tags and the states that count', async (t) => {
    const server = await serveAws(t, (_, index) => ({
      body: ec2Page([INSTANCES[index] ?? {}], ['two', 'three'][index]),
    }))
    const seen = await lookWith(createEc2Source({ env }), server, {
      region: 'eu-west-1',
      tags: { cluster: 'web', role: 'a b' },
    })
    assert.deepEqual(seen, {
      source: 'ec2',
      at: 1_000,
      outcome: 'complete',
      members: NODES.map((node, index) => ({ node, status: 'up', id: `i-0${index + 1}` })),
    })
    assert.deepEqual(
      server.calls.map(({ operation, input }) => [operation, input['NextToken'], input['MaxResults']]),
      [undefined, 'two', 'three'].map((token) => ['DescribeInstances', token, '500']),
    )
    for (const call of server.calls) {
      assert.deepEqual(filtersIn(call), { 'tag:cluster': ['web'], 'tag:role': ['a b'], ...STATES })
    }
  })

  it('signs for the region, with the credentials of the environment', async (t) => {
    const server = await serveAws(t, web)
    await lookWith(createEc2Source({ env }), server, { region: 'eu-west-1' })
    assert.match(
      server.calls[0]?.headers.authorization ?? '',
      /^AWS4-HMAC-SHA256 Credential=AKIATEST\/\d{8}\/eu-west-1\/ec2\//,
    )
    assert.equal(server.calls[0]?.headers['x-amz-security-token'], 'session')
  })

  it('takes the region of the environment before that of the instance', async (t) => {
    const server = await serveAws(t, web)
    const metadata = await serveMetadata(t, { 'placement/region': 'eu-north-1' })
    for (const [variables, region] of [
      [{ AWS_REGION: 'us-east-1', AWS_DEFAULT_REGION: 'us-east-2' }, 'us-east-1'],
      [{ AWS_REGION: '', AWS_DEFAULT_REGION: 'us-east-2' }, 'us-east-2'],
      [{}, 'eu-north-1'],
    ] as const) {
      const source = createEc2Source({ env: { ...metadata.env, ...variables } })
      assert.equal((await lookWith(source, server)).outcome, 'complete')
      assert.match(server.calls.at(-1)?.headers.authorization ?? '', new RegExp(`/${region}/ec2/`))
    }
    assert.deepEqual(metadata.paths, ['placement/region'])
  })

  it('refuses a region of the metadata that would be another host', async (t) => {
    const { env } = await serveMetadata(t, { 'placement/region': 'evil.test/' })
    const seen = await lookWith(createEc2Source({ env }), { url: await nowhere() })
    assert.equal(seen.outcome === 'failed' && seen.error.code, 'no_region')
  })

  it('takes the own value of a tag from the metadata, anew at each look, and means it literally', async (t) => {
    const server = await serveAws(t, web)
    const paths = { 'tags/instance/cluster': 'web*?' }
    const metadata = await serveMetadata(t, paths)
    const source = createEc2Source({ env: metadata.env })
    const options = { region: 'eu-west-1', tags: { cluster: null, stage: 'prod-*' } }
    assert.equal((await lookWith(source, server, options)).outcome, 'complete')
    paths['tags/instance/cluster'] = 'blue'
    await lookWith(source, server, options)
    assert.deepEqual(server.calls.map(filtersIn), [
      { 'tag:cluster': ['web\\*\\?'], 'tag:stage': ['prod-*'], ...STATES },
      { 'tag:cluster': ['blue'], 'tag:stage': ['prod-*'], ...STATES },
    ])
  })

  it('asks EC2 for the own value where tags are not in the metadata, once a minute', async (t) => {
    const own = ec2Page([{ id: 'i-01', ip: '10.0.0.1', tags: { cluster: 'web' } }])
    const server = await serveAws(t, ({ input }) => ({ body: 'InstanceId.1' in input ? own : ec2Page(INSTANCES) }))
    const metadata = await serveMetadata(t, { 'instance-id': 'i-01' })
    const source = createEc2Source({ env: metadata.env })
    for (const now of [1_000, 6_000, 61_000]) {
      const seen = await lookWith(source, server, { region: 'eu-west-1', tags: { cluster: null } }, { now: () => now })
      assert.equal(seen.outcome, 'complete')
    }
    const asked = server.calls.map((call) => call.input['InstanceId.1'] ?? filtersIn(call)['tag:cluster']?.[0])
    assert.deepEqual(asked, ['i-01', 'web', 'web', 'i-01', 'web'])
  })

  it('fails where this instance does not have the tag, and does not ask for all', async (t) => {
    const own = ec2Page([{ id: 'i-01', tags: { other: 'web' } }])
    const server = await serveAws(t, () => ({ body: own }))
    const { env } = await serveMetadata(t, { 'instance-id': 'i-01' })
    const seen = await lookWith(createEc2Source({ env }), server, { region: 'eu-west-1', tags: { cluster: null } })
    assert.equal(seen.outcome === 'failed' && seen.error.code, 'no_tag')
    assert.equal(server.calls.length, 1)
  })

  it('says what a metadata service that does not answer usually means', async (t) => {
    const refusing = await serveAws(t, () => ({ status: 403, body: '' }))
    for (const url of [refusing.url, await nowhere()]) {
      const source = createEc2Source({ env: { AWS_EC2_METADATA_SERVICE_ENDPOINT: url } })
      const seen = await lookWith(source, refusing, { region: 'eu-west-1', tags: { cluster: null } })
      assert.equal(seen.outcome === 'failed' && seen.error.code, 'no_metadata')
      assert.match(seen.outcome === 'failed' ? seen.error.message : '', /hop limit of 2/)
    }
  })

  it('gives a metadata service behind too many hops up in time: it takes the question, and its token never arrives', async (t) => {
    const silent = await serveAws(t, () => () => undefined)
    const source = createEc2Source({ env: { AWS_EC2_METADATA_SERVICE_ENDPOINT: silent.url } })
    const options = { region: 'eu-west-1', tags: { cluster: null }, timeout: 50 }
    const seen = await lookWith(source, { url: await nowhere() }, options)
    assert.equal(seen.outcome === 'failed' && seen.error.code, 'no_metadata', JSON.stringify(seen))
  })

  it('ends in time though who should give it credentials never answers', async (t) => {
    const silent = await serveAws(t, () => () => undefined)
    setVariable(t, 'AWS_ACCESS_KEY_ID', undefined)
    setVariable(t, 'AWS_CONTAINER_CREDENTIALS_FULL_URI', `${silent.url}/role`)
    const seen = await lookWith(createEc2Source({ env }), silent, { region: 'eu-west-1', timeout: 100 })
    assert.equal(seen.outcome === 'failed' && seen.error.code, 'timeout', JSON.stringify(seen))
  })

  it('says how long it is to be left alone when it is throttled', async (t) => {
    for (const [headers, expected] of [
      [{}, 15_000],
      [{ 'retry-after': '40' }, 40_000],
    ] as const) {
      const server = await serveAws(t, () => ec2Error('RequestLimitExceeded', 503, headers))
      const seen = await lookWith(createEc2Source({ env }), server, { region: 'eu-west-1' })
      assert.equal(seen.outcome === 'failed' && seen.error.retryAfterMs, expected)
      assert.equal(server.calls.length, 1)
    }
  })

  it('looks for other credentials once AWS has refused those that it had', async (t) => {
    const server = await serveAws(t, (_, index) =>
      index === 0 ? ec2Error('ExpiredToken', 400) : { body: ec2Page(INSTANCES) },
    )
    const source = createEc2Source({ env })
    assert.equal((await lookWith(source, server, { region: 'eu-west-1' })).outcome, 'failed')
    setVariable(t, 'AWS_ACCESS_KEY_ID', 'AKIAROTATED')
    assert.equal((await lookWith(source, server, { region: 'eu-west-1' })).outcome, 'complete')
    assert.match(server.calls[1]?.headers.authorization ?? '', /AKIAROTATED/)
  })

  it('takes the credentials of a container where the environment has none', async (t) => {
    const server = await serveAws(t, web)
    const container = await serveAws(t, () => ({
      body: JSON.stringify({
        AccessKeyId: 'AKIATASK',
        SecretAccessKey: 'secret',
        Token: 'token',
        Expiration: '2099-01-01T00:00:00Z',
      }),
    }))
    setVariable(t, 'AWS_ACCESS_KEY_ID', undefined)
    setVariable(t, 'AWS_CONTAINER_CREDENTIALS_FULL_URI', `${container.url}/role`)
    const source = createEc2Source({ env })
    for (const look of [1, 2]) {
      assert.equal((await lookWith(source, server, { region: 'eu-west-1' })).outcome, 'complete', `look ${look}`)
    }
    assert.match(server.calls[1]?.headers.authorization ?? '', /AKIATASK/)
    assert.equal(container.calls.length, 1)
  })

  it('fails, and asks nobody, where there are no credentials at all', async (t) => {
    const server = await serveAws(t, web)
    setVariable(t, 'AWS_ACCESS_KEY_ID', undefined)
    const seen = await lookWith(createEc2Source({ env }), server, { region: 'eu-west-1' })
    assert.equal(seen.outcome === 'failed' && seen.error.code, 'no_credentials', JSON.stringify(seen))
    assert.equal(server.calls.length, 0)
  })

  it('wants a basename where no node asks', async (t) => {
    const server = await serveAws(t, web)
    const seen = await lookWith(createEc2Source({ env }), server, { region: 'eu-west-1', basename: undefined })
    assert.equal(seen.outcome === 'failed' && seen.error.code, 'config')
  })
})

/** Sets a variable of this process for one test: the SDK reads no other. */
function setVariable(t: TestContext, name: string, value: string | undefined): void {
  const before = process.env[name]
  t.after(() => (before === undefined ? delete process.env[name] : (process.env[name] = before)))
  if (value === undefined) delete process.env[name]
  else process.env[name] = value
}
