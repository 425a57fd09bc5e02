import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { describe, it, type TestContext } from 'node:test'
import { promisify } from 'node:util'
import { awsSources } from '../../core/aws-sources.ts'
import { parseServedConfig, servedSources } from '../../core/served-config.ts'
import { createObserver } from '../../functions/observer.ts'
import { resolvers } from '../../functions/resolvers/index.ts'
import { withCredentials } from './aws-credentials.ts'
import { ec2Page, serveAws } from './aws-server.ts'
import { createClock, createMemoryLog, topologiesOf } from './scripted.ts'

const run = promisify(execFile)
const EC2 = { ec2: { region: 'eu-west-1', tags: { cluster: 'web' }, basename: 'app' } }
const CLOUDMAP = { cloudmap: { region: 'eu-west-1', namespace: 'prod', service: 'web', basename: 'app' } }
const origin = { file: 'ROLLCALL_CONFIG', env: {} }

withCredentials()

function withSources(...sources: object[]): { topologies: object } {
  return { topologies: { web: { sources } } }
}

/** An observer of a topology, as a host with all resolvers has it. */
function observerOf(sources: object[]) {
  const config = topologiesOf({ web: { interval: '5s', sources } })['web']
  assert.ok(config)
  const clock = createClock()
  const context = { now: clock.now, log: createMemoryLog(), fetch }
  return { clock, observer: createObserver({ topology: 'web', config, loaders: resolvers, context }) }
}

async function serveCloudmap(t: TestContext) {
  const instance = { InstanceId: 'a', Attributes: { AWS_INSTANCE_IPV4: '10.0.0.1' } }
  return await serveAws(t, () => ({ body: JSON.stringify({ Instances: [instance], InstancesRevision: 7 }) }))
}

describe('a host', { timeout: 60_000 }, () => {
  it('on Lambda takes ec2 and cloudmap in its config', () => {
    const { topologies } = parseServedConfig(withSources(EC2, CLOUDMAP), origin, { ...servedSources, ...awsSources })
    assert.deepEqual(
      topologies['web']?.sources.map(({ kind }) => kind),
      ['ec2', 'cloudmap'],
    )
  })

  it('at the edge refuses them, and says which it has', () => {
    for (const source of [EC2, CLOUDMAP]) {
      assert.throws(() => parseServedConfig(withSources(source), origin), {
        code: 'config',
        message: new RegExp(`sources\\[0\\].*unknown source ${Object.keys(source).join()}; known: static, dns, `),
      })
    }
  })

  it('refuses at its start those that have no basename, for no node asks there', () => {
    for (const source of [{ ec2: {} }, { cloudmap: { namespace: 'prod', service: 'web' } }]) {
      assert.throws(() => observerOf([source]), { code: 'config', message: /expected basename, got none/ })
    }
  })

  it('lets a source remember what it has listed: the next ask is for the revision alone', async (t) => {
    const { url, calls } = await serveCloudmap(t)
    const { clock, observer } = observerOf([{ cloudmap: { ...CLOUDMAP.cloudmap, endpoint: url } }])
    await observer.refresh()
    clock.pass(5_000)
    await observer.refresh()
    assert.deepEqual(
      calls.map(({ operation }) => operation),
      ['DiscoverInstances', 'DiscoverInstancesRevision'],
    )
    assert.equal(observer.observations()[0]?.outcome, 'complete')
  })

  it('keeps what it knew, and leaves AWS alone, while it is throttled', async (t) => {
    let isThrottled = false
    const page = ec2Page([{ id: 'i-1', ip: '10.0.0.1' }])
    const throttled = {
      status: 503,
      body: '<Response><Errors><Error><Code>RequestLimitExceeded</Code></Error></Errors></Response>',
    }
    const { url, calls } = await serveAws(t, () => (isThrottled ? throttled : { body: page }))
    const { clock, observer } = observerOf([{ ec2: { ...EC2.ec2, endpoint: url } }])
    await observer.refresh()
    isThrottled = true
    for (const ms of [5_000, 5_000, 5_000, 5_000]) {
      clock.pass(ms)
      await observer.refresh()
      const [observation] = observer.observations()
      assert.deepEqual(
        [observation?.outcome, observation?.members?.map(({ node }) => node)],
        ['failed', ['app@10.0.0.1']],
      )
    }
    assert.equal(calls.length, 3)
  })

  for (const [name, host] of [
    ['the function on Lambda', 'functions/lambda.ts'],
    ['an agent', 'agent/strategies/index.ts'],
    ['the command line', 'agent/config.ts'],
  ] as const) {
    it(`loads no client of AWS with ${name}`, async () => {
      assert.deepEqual(await loadedWith(`await import('./${host}')`), [])
    })
  }

  it('loads the client of a service when that is first asked', async () => {
    const asks = `const { resolvers } = await import('./functions/resolvers/index.ts')
      const source = await resolvers.ec2()
      if (loaded.length > 0) throw new Error('too early')
      const options = source.options.parse({ region: 'eu-west-1', basename: 'app', endpoint: 'http://127.0.0.1:9' })
      await source.look(options, { source: 'ec2', signal: AbortSignal.timeout(20_000), now: () => 1, log: console, fetch }).catch(() => {})`
    const loaded = await loadedWith(asks)
    assert.ok(loaded.some((url) => url.includes('@aws-sdk/client-ec2')))
    assert.ok(!loaded.some((url) => url.includes('@aws-sdk/client-servicediscovery')))
  })
})

/** The modules of AWS that a process of its own has loaded after `code`. */
async function loadedWith(code: string): Promise<string[]> {
  const program = `
    import { registerHooks } from 'node:module'
    const loaded = []
    registerHooks({ load(url, context, next) {
      if (/node_modules\\/@(aws-sdk|smithy)\\//.test(url)) loaded.push(url)
      return next(url, context)
    } })
    ${code}
    console.log(JSON.stringify(loaded))`
  const cwd = new URL('../..', import.meta.url)
  const config = withSources({ static: { nodes: ['a@h'] } }, EC2)
  const env = { ...process.env, ROLLCALL_CONFIG: JSON.stringify({ ...config, log: { level: 'silent' } }) }
  const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', program], { cwd, env })
  return JSON.parse(stdout) as string[]
}
