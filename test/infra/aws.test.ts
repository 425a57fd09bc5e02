import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { json } from 'node:stream/consumers'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type Deployment, readDeployment } from '../../infra/aws/deployment.ts'
import { permissionsOf } from '../../infra/aws/permissions.ts'
import { TABLE } from '../../infra/aws/table.ts'
import { createFakeLog } from '../agent/fakes.ts'
import { claim } from '../../core/lease.ts'
import { nodeName } from '../../core/node.ts'
import { openDynamodbStore } from '../../functions/stores/dynamodb.ts'
import { serveLoopback } from '../contract/loopback.ts'

const FOLDER = fileURLToPath(new URL('../../infra/aws/', import.meta.url))
const CDK = join(FOLDER, 'node_modules/.bin/cdk')
const run = promisify(execFile)

const TOKEN = 'a-token'
const SHA256 = createHash('sha256').update(TOKEN).digest('hex')
const AUTH = `auth: [{ name: agents, sha256: ${SHA256} }]`

const EC2 = 'ec2: { basename: app, tags: { role: app } }'
const CLOUDMAP = 'cloudmap: { basename: app, namespace: internal, service: app }'
const DNS = 'dns: { query: app.example.com, basename: app }'
const REGISTRY = 'registry: { store: dynamodb, table: "${ROLLCALL_TABLE}" }'

/** What a test reads of a template. */
interface Template {
  readonly Resources: Record<string, Resource>
  readonly Outputs: Record<string, unknown>
}

interface Resource {
  readonly Type: string
  readonly DeletionPolicy?: string
  readonly Properties: Record<string, unknown>
}

interface PolicyStatement {
  readonly Action: string | string[]
  readonly Resource: unknown
  readonly Condition?: unknown
}

interface StackOptions {
  readonly name: string
  readonly deployment: Deployment
  readonly code: string
  readonly alarmTopic?: string
  readonly concurrency?: number
}

/** Whether what needs the CDK must be skipped: `false`, or the line that says what to do. Under `PEERS=required` that is an error. */
function missingCdk(): string | false {
  if (existsSync(CDK)) return false
  const line = 'needs the CDK: (cd infra/aws && npm ci)'
  if (process.env.PEERS === 'required') throw new Error(`PEERS=required, and this test ${line}`)
  return line
}

/** What of a request to DynamoDB a test reads. */
interface Request {
  readonly target: string
  readonly body: {
    readonly Item?: object
    readonly TransactItems?: readonly { readonly Put: { readonly Item: object } }[]
  }
}

function read(sources: readonly string[], { rest = AUTH, env = {} }: { rest?: string; env?: NodeJS.ProcessEnv } = {}) {
  const list = sources.map((source) => `      - ${source}\n`).join('')
  return readDeployment(`topologies:\n  web:\n    sources:\n${list}${rest}\n`, { file: 'rollcall.yaml', env })
}

describe('what of a rollcall.yaml goes to Lambda', () => {
  test('is what a function reads, and nothing that only an agent does', () => {
    const { config } = read([DNS], {
      rest: `${AUTH}\nnode: app@h\nagent: { state: x }\ndistribution: { beam: { cookie: "\${COOKIE}" } }`,
    })
    assert.deepEqual(JSON.parse(config), {
      topologies: { web: { sources: [{ dns: { query: 'app.example.com', basename: 'app' } }] } },
      auth: [{ name: 'agents', sha256: SHA256 }],
    })
  })

  test('has no value of a variable, only its name', () => {
    const source = 'dns: { query: "${QUERY}.internal", basename: app, server: "udp://${DNS}:53" }'
    const { config, variables } = read([source], { env: { QUERY: 'hidden', DNS: '10.9.8.7' } })
    assert.deepEqual(variables, ['DNS', 'QUERY'])
    assert.doesNotMatch(config, /hidden|10\.9\.8\.7/)
  })

  test('leaves to Lambda what Lambda or the stack sets', () => {
    const { variables, tables } = read([REGISTRY, 'ec2: { basename: app, region: "${AWS_REGION}" }'])
    assert.deepEqual([variables, tables], [[], ['${ROLLCALL_TABLE}']])
  })

  test('says how long the slowest source may take', () => {
    assert.equal(read([DNS]).longestAskMs, 5_000)
    assert.equal(read([DNS, 'ec2: { basename: app, timeout: 20s }']).longestAskMs, 20_000)
    assert.equal(read(['static: { nodes: [a@h] }']).longestAskMs, 0)
  })

  test('is refused where the deployed function would refuse it, with the reason', () => {
    const refused: [sources: string[], RegExp, rest?: string, env?: NodeJS.ProcessEnv][] = [
      [[DNS], /expected auth, got none: npm run rollcall -- token/, 'log: { level: info }'],
      [[DNS], /unknown|expected/, `${AUTH}\nagnet: {}`],
      [['kubernetes: { service: app }'], /kubernetes/],
      [['dns: { query: "${QUERY}", basename: app }'], /expected the environment variable QUERY, got nothing/],
      [['registry: {}'], /expected store: dynamodb .*, got store: memory/],
      [['registry: { store: dynamodb, table: "${OTHER}" }'], /expected the name of a table/, AUTH, { OTHER: 'x' }],
      [['registry: { store: dynamodb, table: t, region: eu-west-1 }'], /expected a registry without region/],
      [[`static: { nodes: [${'node@host.example.com, '.repeat(200)}] }`], /expected at most 3600 bytes/],
    ]
    for (const [sources, message, rest = AUTH, env = {}] of refused) {
      assert.throws(() => read(sources, { rest, env }), { code: 'config', message })
    }
  })

  test('is no YAML in one sentence, which quotes nothing of it', () => {
    const message =
      /^\[config\] rollcall\.yaml: expected YAML or JSON, got a mistake in line 1, column 12: Missing closing "quote$/
    const origin = { file: 'rollcall.yaml', env: {} }
    assert.throws(() => readDeployment('a: "hunter2', origin), { code: 'config', message })
  })

  test('may be open to anybody, when the config says so', () => {
    assert.equal(read([DNS], { rest: 'auth: none' }).isOpen, true)
    assert.equal(read([DNS]).isOpen, false)
  })
})

describe('what the function is allowed', () => {
  const allowed = (...sources: string[]) => permissionsOf(read(sources, { env: { NAME: 'x' } }).sources, 'eu-west-1')

  test('is nothing for DNS, lists and registries', () => {
    assert.deepEqual(allowed(DNS, 'static: { nodes: [a@h] }', REGISTRY, 'none'), [])
  })

  test('is to list the instances of the regions of its ec2 sources', () => {
    assert.deepEqual(allowed(EC2, 'ec2: { name: far, basename: app, region: us-west-2 }', DNS), [
      {
        Effect: 'Allow',
        Action: ['ec2:DescribeInstances'],
        Resource: '*',
        Condition: { StringLike: { 'ec2:Region': ['eu-west-1', 'us-west-2'] } },
      },
    ])
  })

  test('is to discover the services of its cloudmap sources', () => {
    assert.deepEqual(allowed(CLOUDMAP), [
      {
        Effect: 'Allow',
        Action: ['servicediscovery:DiscoverInstances', 'servicediscovery:DiscoverInstancesRevision'],
        Resource: '*',
        Condition: {
          StringLike: { 'servicediscovery:NamespaceName': ['internal'], 'servicediscovery:ServiceName': ['app'] },
        },
      },
    ])
  })

  test('is any service where a variable names it, and a name with a star means itself', () => {
    const [statement] = allowed('cloudmap: { basename: app, namespace: "a*", service: "${NAME}-b" }')
    assert.deepEqual(statement?.Condition, {
      StringLike: { 'servicediscovery:NamespaceName': ['a${*}'], 'servicediscovery:ServiceName': ['*'] },
    })
  })
})

describe('the table of a registry', () => {
  test('has the keys that the store writes, and allows what it does', async (t) => {
    const asked: Request[] = []
    const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
      const [, target = ''] = /\.(\w+)$/.exec(String(request.headers['x-amz-target'])) ?? []
      asked.push({ target, body: (await json(request)) as Request['body'] })
      response.writeHead(200, { 'content-type': 'application/x-amz-json-1.0' })
      response.end(target === 'Query' ? '{"Items":[],"Count":0}' : '{}')
    }
    const { url } = await serveLoopback(t, (request, response) => void answer(request, response))
    process.env.AWS_ACCESS_KEY_ID = 'a'
    process.env.AWS_SECRET_ACCESS_KEY = 'b'
    const options = { store: 'dynamodb', table: 't', region: 'eu-west-1', endpoint: url, ttl: 30_000 } as const
    const context = { now: () => 1_000, log: createFakeLog(), fetch }
    const store = await openDynamodbStore({ topology: 'web', options, context })
    const node = nodeName('app', '10.0.0.5')
    await store.change(node, (current, clock) =>
      claim({ node, id: '1' }, current, { clock, now: 1_000, ttlMs: 30_000 }),
    )
    await store.read(new AbortController().signal)
    const puts = asked.flatMap(({ body: { Item, TransactItems = [] } }) => [
      ...(Item === undefined ? [] : [Item]),
      ...TransactItems.map(({ Put }) => Put.Item),
    ])
    const [lease] = puts
    assert.deepEqual(Object.keys(lease ?? {}).toSorted(), [TABLE.expiry, TABLE.sortKey, TABLE.partitionKey, 'value'])
    const actions = asked.map(({ target }) => `dynamodb:${target === 'TransactWriteItems' ? 'PutItem' : target}`)
    assert.deepEqual([...new Set(actions)].toSorted(), TABLE.actions)
  })
})

describe('the stack', { skip: missingCdk() }, () => {
  let folder: string
  let templateOf: (options: StackOptions, folder: string) => Template

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'rollcall-stack-'))
    await mkdir(join(folder, 'code'))
    await writeFile(join(folder, 'code/index.mjs'), 'export const handler = () => {}')
    // By a name that tsc does not follow: the root has no CDK.
    const { href } = new URL('../../infra/aws/template.ts', import.meta.url)
    ;({ templateOf } = (await import(href)) as { templateOf: typeof templateOf })
  })
  after(() => rm(folder, { recursive: true }))

  function template(deployment: Deployment, options: Partial<StackOptions> = {}): Template {
    return templateOf({ name: 'rollcall', deployment, code: join(folder, 'code'), ...options }, join(folder, 'out'))
  }

  function resources({ Resources }: Template, type: string): Resource[] {
    return Object.values(Resources).filter(({ Type }) => Type === type)
  }

  function only(found: Template, type: string): Resource['Properties'] {
    const [resource, ...others] = resources(found, type)
    assert.deepEqual(others, [])
    return resource?.Properties ?? assert.fail(`expected ${type}`)
  }

  function statements(found: Template): PolicyStatement[] {
    const { PolicyDocument } = only(found, 'AWS::IAM::Policy') as { PolicyDocument: { Statement: PolicyStatement[] } }
    return PolicyDocument.Statement
  }

  test('has the newest Node that Lambda has, with more time than a source may take', () => {
    const made = template(read([DNS]))
    const lambda = only(made, 'AWS::Lambda::Function')
    assert.deepEqual(
      [lambda.Runtime, lambda.Architectures, lambda.Handler, lambda.Timeout, lambda.MemorySize],
      ['nodejs24.x', ['arm64'], 'index.handler', 15, 512],
    )
    assert.deepEqual(lambda.Environment, { Variables: { ROLLCALL_CONFIG: read([DNS]).config } })
    assert.equal('ReservedConcurrentExecutions' in lambda, false)
    const slow = template(read(['ec2: { basename: app, timeout: 19500ms }']), { concurrency: 10 })
    const { Timeout, ReservedConcurrentExecutions } = only(slow, 'AWS::Lambda::Function')
    assert.deepEqual([Timeout, ReservedConcurrentExecutions], [30, 10])
  })

  test('has a URL that asks for no signature, which new URLs need two permissions for', () => {
    const made = template(read([DNS]))
    assert.equal(only(made, 'AWS::Lambda::Url').AuthType, 'NONE')
    const permissions = resources(made, 'AWS::Lambda::Permission').map(({ Properties }) => Properties)
    assert.deepEqual(
      permissions.map(({ Action, FunctionUrlAuthType, InvokedViaFunctionUrl }) => [
        Action,
        FunctionUrlAuthType ?? InvokedViaFunctionUrl,
      ]),
      [
        ['lambda:InvokeFunctionUrl', 'NONE'],
        ['lambda:InvokeFunction', true],
      ],
    )
    assert.ok('Url' in made.Outputs)
  })

  test('lets a function that asks DNS write its own log, and nothing else', () => {
    const made = template(read([DNS]))
    const [log] = Object.entries(made.Resources).find(([, { Type }]) => Type === 'AWS::Logs::LogGroup') ?? []
    assert.deepEqual(statements(made), [
      {
        Action: ['logs:CreateLogStream', 'logs:PutLogEvents'],
        Effect: 'Allow',
        Resource: { 'Fn::GetAtt': [log, 'Arn'] },
      },
    ])
    assert.equal('ManagedPolicyArns' in only(made, 'AWS::IAM::Role'), false)
    assert.deepEqual(resources(made, 'AWS::DynamoDB::GlobalTable'), [])
  })

  test('keeps its log for a month, and in it nothing that Lambda says of calls that went well', () => {
    const made = template(read([DNS]))
    assert.equal(only(made, 'AWS::Logs::LogGroup').RetentionInDays, 30)
    const { LogGroup, ...config } = only(made, 'AWS::Lambda::Function').LoggingConfig as { LogGroup: { Ref: string } }
    assert.equal(made.Resources[LogGroup.Ref]?.Type, 'AWS::Logs::LogGroup')
    assert.deepEqual(config, { LogFormat: 'JSON', SystemLogLevel: 'WARN' })
  })

  test('allows what each source asks of AWS, in the region of the stack', () => {
    const made = statements(template(read([EC2, CLOUDMAP, DNS])))
    assert.deepEqual(made.slice(1), [
      {
        Action: 'ec2:DescribeInstances',
        Condition: { StringLike: { 'ec2:Region': [{ Ref: 'AWS::Region' }] } },
        Effect: 'Allow',
        Resource: '*',
      },
      {
        Action: ['servicediscovery:DiscoverInstances', 'servicediscovery:DiscoverInstancesRevision'],
        Condition: {
          StringLike: { 'servicediscovery:NamespaceName': ['internal'], 'servicediscovery:ServiceName': ['app'] },
        },
        Effect: 'Allow',
        Resource: '*',
      },
    ])
  })

  test('has a table for its registry, paid by use, that forgets and can be restored', () => {
    const made = template(read([REGISTRY]))
    const table = only(made, 'AWS::DynamoDB::GlobalTable')
    assert.deepEqual(
      [table.BillingMode, table.KeySchema, table.TimeToLiveSpecification],
      [
        'PAY_PER_REQUEST',
        [
          { AttributeName: TABLE.partitionKey, KeyType: 'HASH' },
          { AttributeName: TABLE.sortKey, KeyType: 'RANGE' },
        ],
        { AttributeName: TABLE.expiry, Enabled: true },
      ],
    )
    const [replica] = table.Replicas as { PointInTimeRecoverySpecification: object }[]
    assert.deepEqual(replica?.PointInTimeRecoverySpecification, { PointInTimeRecoveryEnabled: true })
    const [id] = Object.entries(made.Resources).find(([, { Type }]) => Type === 'AWS::DynamoDB::GlobalTable') ?? []
    const { Variables } = only(made, 'AWS::Lambda::Function').Environment as { Variables: Record<string, unknown> }
    assert.deepEqual(Variables.ROLLCALL_TABLE, { Ref: id })
    const [, statement, ...others] = statements(made)
    assert.deepEqual(
      [statement?.Action, statement?.Resource, others],
      [TABLE.actions, { 'Fn::GetAtt': [id, 'Arn'] }, []],
    )
    const named = template(read(['registry: { store: dynamodb, table: leases }']))
    assert.equal(only(named, 'AWS::DynamoDB::GlobalTable').TableName, 'leases')
  })

  test('reads secrets from the parameters of their names, and holds none', () => {
    const source = 'dns: { query: app.internal, basename: app, server: "udp://${DNS}:53" }'
    const made = template(read([source], { env: { DNS: '10.9.8.7' } }), { name: 'blue' })
    const { Variables } = only(made, 'AWS::Lambda::Function').Environment as { Variables: Record<string, unknown> }
    assert.equal(Variables.ROLLCALL_PARAMETERS, '/blue/DNS')
    const [, statement, ...others] = statements(made)
    assert.deepEqual([statement?.Action, others], ['ssm:GetParameters', []])
    assert.match(JSON.stringify(statement?.Resource), /":parameter\/blue\/DNS"/)
    assert.doesNotMatch(JSON.stringify(made), /10\.9\.8\.7/)
  })

  test('raises an alarm when calls fail, are turned away, or come near their end', () => {
    const topic = 'arn:aws:sns:eu-west-1:123456789012:alarms'
    const made = template(read([DNS]), { alarmTopic: topic })
    const alarms = resources(made, 'AWS::CloudWatch::Alarm').map(({ Properties }) => Properties)
    assert.deepEqual(
      alarms.map(({ MetricName, Statistic, ExtendedStatistic, Threshold, TreatMissingData, AlarmActions }) => [
        MetricName,
        Statistic ?? ExtendedStatistic,
        Threshold,
        TreatMissingData,
        AlarmActions,
      ]),
      [
        ['Errors', 'Sum', 1, 'notBreaching', [topic]],
        ['Throttles', 'Sum', 1, 'notBreaching', [topic]],
        ['Duration', 'p99', 12_000, 'notBreaching', [topic]],
      ],
    )
    const quiet = resources(template(read([DNS])), 'AWS::CloudWatch::Alarm')
    assert.deepEqual(
      quiet.map(({ Properties }) => Properties.AlarmActions),
      [undefined, undefined, undefined],
    )
  })

  test('is of sources that check', async () => {
    const tsc = fileURLToPath(new URL('../../node_modules/.bin/tsc', import.meta.url))
    await run(tsc, ['-p', FOLDER])
  })

  describe('made by cdk synth', () => {
    const NODE_PATH = `${dirname(process.execPath)}${delimiter}${process.env.PATH}`
    let folder: string

    before(async () => {
      folder = await mkdtemp(join(tmpdir(), 'rollcall-synth-'))
    })
    after(() => rm(folder, { recursive: true }))

    async function synth(config: string, env: Record<string, string> = {}): Promise<{ stderr: string }> {
      const file = join(folder, 'rollcall.yaml')
      await writeFile(file, config)
      const options = ['--quiet', '--output', join(folder, 'out'), '-c', `config=${file}`]
      // No credentials, no home and no region: it needs none of them.
      return await run(CDK, ['synth', ...options], { cwd: FOLDER, env: { PATH: NODE_PATH, HOME: folder, ...env } })
    }

    /** Runs the bundle of the template as Lambda does, and gives what it answers to a call. */
    async function invoke(env: Record<string, string>, path: string): Promise<{ statusCode: number; body: string }> {
      const assets = (await readdir(join(folder, 'out'))).filter((name) => name.startsWith('asset.'))
      assert.equal(assets.length, 1)
      const event = {
        version: '2.0',
        rawPath: path,
        rawQueryString: '',
        headers: { authorization: `Bearer ${TOKEN}` },
        requestContext: {
          accountId: 'anonymous',
          domainName: 'h',
          http: { method: 'GET', path, sourceIp: '127.0.0.1' },
        },
      }
      const script = `import(process.argv[1]).then(({ handler }) => handler(${JSON.stringify(event)}, {}))
      .then((result) => console.log(JSON.stringify(result)))`
      const bundle = join(folder, 'out', assets[0] ?? '', 'index.mjs')
      const { stdout } = await run(process.execPath, ['-e', script, bundle], { env })
      return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as { statusCode: number; body: string }
    }

    test('needs no network and no account, and its bundle answers with the secrets of the parameter store', async (t) => {
      const config = `topologies: { web: { sources: [{ static: { nodes: [app@10.0.0.5] } }] } }
auth: [{ name: agents, sha256: "\${AGENTS_SHA256}" }]`
      await synth(config, { AGENTS_SHA256: '0'.repeat(64) })
      const { Resources } = JSON.parse(await readFile(join(folder, 'out/rollcall.template.json'), 'utf8')) as Template
      const lambda = Object.values(Resources).find(({ Type }) => Type === 'AWS::Lambda::Function')
      const { Variables } = (lambda ?? assert.fail('expected a function')).Properties.Environment as {
        Variables: Record<string, string>
      }
      const asked: unknown[] = []
      const answerParameters = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
        asked.push([request.headers['x-amz-target'], await json(request)])
        const parameters = [{ Name: '/rollcall/AGENTS_SHA256', Type: 'SecureString', Value: SHA256 }]
        response.writeHead(200, { 'content-type': 'application/x-amz-json-1.1' })
        response.end(JSON.stringify({ Parameters: parameters, InvalidParameters: [] }))
      }
      const { url } = await serveLoopback(t, (request, response) => void answerParameters(request, response))
      const keys = { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b', AWS_REGION: 'eu-west-1' }
      const answer = await invoke({ ...Variables, ...keys, AWS_ENDPOINT_URL_SSM: url }, '/v1/topologies/web/members')
      assert.deepEqual(asked, [
        ['AmazonSSM.GetParameters', { Names: ['/rollcall/AGENTS_SHA256'], WithDecryption: true }],
      ])
      assert.equal(answer.statusCode, 200, answer.body)
      assert.match(answer.body, /app@10\.0\.0\.5/)
      // What the function's own environment has is not asked for.
      const given = await invoke({ ...Variables, AGENTS_SHA256: '0'.repeat(64) }, '/v1/topologies/web/members')
      assert.deepEqual([given.statusCode, asked.length], [401, 1])
    })

    test('says in one line what is wrong with the config', async () => {
      const failed = await synth('topologies: { web: { sources: [none] } }').then(
        () => assert.fail('expected a refusal'),
        (error: { stderr: string }) => error.stderr,
      )
      assert.match(failed, /^\[config\] .*rollcall\.yaml: expected auth, got none: .*$/m)
      assert.doesNotMatch(failed, /\n {4}at /)
    })
  })
})

describe('the package of the stack', () => {
  test('names every version exactly, and no registry', async () => {
    const { devDependencies } = JSON.parse(await readFile(join(FOLDER, 'package.json'), 'utf8')) as {
      devDependencies: Record<string, string>
    }
    for (const [name, version] of Object.entries(devDependencies)) assert.match(version, /^\d+\.\d+\.\d+$/, name)
    assert.doesNotMatch(await readFile(join(FOLDER, 'package-lock.json'), 'utf8'), /"resolved"/)
  })
})
