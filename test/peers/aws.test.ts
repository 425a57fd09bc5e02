import assert from 'node:assert/strict'
import { after, before, beforeEach, suite, test } from 'node:test'
import { EC2Client, RunInstancesCommand, StopInstancesCommand, TerminateInstancesCommand } from '@aws-sdk/client-ec2'
import {
  CreateHttpNamespaceCommand,
  CreateServiceCommand,
  type CustomHealthStatus,
  DeregisterInstanceCommand,
  ListNamespacesCommand,
  RegisterInstanceCommand,
  ServiceDiscoveryClient,
  UpdateInstanceCustomHealthStatusCommand,
} from '@aws-sdk/client-servicediscovery'
import type { Observation } from '../../core/member.ts'
import { createCloudmapSource } from '../../functions/resolvers/cloudmap.ts'
import { createEc2Source } from '../../functions/resolvers/ec2.ts'
import { observe, type Source } from '../../functions/resolvers/source.ts'
import { createFakeLog } from '../agent/fakes.ts'
import { parseOptions } from '../contract/source-contract.ts'
import { withCredentials } from '../functions/aws-credentials.ts'
import { serveMetadata } from '../functions/aws-server.ts'
import { type Moto, startMoto } from './moto.ts'
import { missingPrograms } from './programs.ts'

const REGION = 'eu-west-1'
const env = { AWS_EC2_METADATA_DISABLED: 'true' }

suite('The sources of AWS beside moto, over the wire', {
  skip: missingPrograms('moto_server'),
  timeout: 120_000,
}, () => {
  let moto: Moto
  let ec2: EC2Client
  let cloudmap: ServiceDiscoveryClient

  withCredentials()
  before(async () => {
    moto = await startMoto()
    ec2 = new EC2Client({ region: REGION, endpoint: moto.url })
    cloudmap = new ServiceDiscoveryClient({ region: REGION, endpoint: moto.url })
  })
  beforeEach(() => moto.reset())
  after(async () => {
    ec2.destroy()
    cloudmap.destroy()
    await moto.kill()
  })

  /** Asks once, with options as they stand in a config. */
  async function look(kind: string, source: Source<never>, options: object, at = 1_000): Promise<Observation> {
    const given = parseOptions(kind, { region: REGION, endpoint: moto.url, basename: 'app', ...options })
    const { signal } = new AbortController()
    const context = { source: kind, signal, now: () => at, log: createFakeLog(), fetch }
    return await observe(source as Source<unknown>, given, context)
  }
  const askEc2 = (options: object, seams: Parameters<typeof createEc2Source>[0] = {}) =>
    look('ec2', createEc2Source({ env, ...seams }) as Source<never>, options)
  const askCloudmap = (options: object) => look('cloudmap', createCloudmapSource({ env }) as Source<never>, options)

  /** Starts instances in a reservation of their own: their ids and private addresses. */
  async function run(count: number, tags: Record<string, string>): Promise<{ id: string; ip: string }[]> {
    const { Instances = [] } = await ec2.send(
      new RunInstancesCommand({
        ImageId: 'ami-12c6146b',
        MinCount: count,
        MaxCount: count,
        TagSpecifications: [
          { ResourceType: 'instance', Tags: Object.entries(tags).map(([Key, Value]) => ({ Key, Value })) },
        ],
      }),
    )
    return Instances.map(({ InstanceId: id = '', PrivateIpAddress: ip = '' }) => ({ id, ip }))
  }
  const membersOf = (instances: readonly { id: string; ip: string }[]) =>
    instances.map(({ id, ip }) => ({ node: `app@${ip}`, status: 'up', id })).sort((a, b) => (a.node < b.node ? -1 : 1))

  test('EC2 lists those with all the tags, by their private addresses and with their ids', async () => {
    const web = await run(3, { cluster: 'web', stage: 'prod' })
    await run(2, { cluster: 'web', stage: 'test' })
    await run(1, { cluster: 'db', stage: 'prod' })
    const seen = await askEc2({ tags: { cluster: 'web', stage: 'prod' } })
    assert.deepEqual([seen.outcome, seen.members], ['complete', membersOf(web)], JSON.stringify(seen))
    assert.equal((await askEc2({ tags: { cluster: 'web' } })).members?.length, 5)
    assert.equal((await askEc2({})).members?.length, 6)
    assert.deepEqual(await askEc2({ tags: { cluster: 'other' } }), {
      source: 'ec2',
      at: 1_000,
      outcome: 'complete',
      members: [],
    })
  })

  test('EC2 lists all of more than one page', async () => {
    const all = []
    for (let reservation = 0; reservation < 12; reservation++) all.push(...(await run(1, { cluster: 'web' })))
    const seen = await askEc2({ tags: { cluster: 'web' } }, { pageSize: 5 })
    assert.deepEqual([seen.outcome, seen.members], ['complete', membersOf(all)], JSON.stringify(seen))
  })

  test('EC2 lists hundreds of instances', async () => {
    const all = await run(300, { cluster: 'web' })
    const seen = await askEc2({ tags: { cluster: 'web' } })
    assert.deepEqual([seen.outcome, seen.members], ['complete', membersOf(all)])
  })

  test('EC2 lists by public addresses and by names', async () => {
    const [instance] = await run(1, { cluster: 'web' })
    assert.ok(instance)
    const names = { public: /^app@\d+\.\d+\.\d+\.\d+$/, dns: /^app@ip-[\d-]+\.eu-west-1\.compute\.internal$/ }
    for (const [address, pattern] of Object.entries(names)) {
      const seen = await askEc2({ tags: { cluster: 'web' }, address })
      assert.match(seen.members?.[0]?.node ?? JSON.stringify(seen), pattern)
    }
  })

  test('EC2 lists no more who was stopped or terminated', async () => {
    const [stopped, terminated, ...others] = await run(4, { cluster: 'web' })
    assert.ok(stopped && terminated)
    await ec2.send(new StopInstancesCommand({ InstanceIds: [stopped.id] }))
    await ec2.send(new TerminateInstancesCommand({ InstanceIds: [terminated.id] }))
    const seen = await askEc2({ tags: { cluster: 'web' } })
    assert.deepEqual([seen.outcome, seen.members], ['complete', membersOf(others)])
  })

  test('EC2 takes a value that has wildcards as one, and the own value of a tag as it is', async (t) => {
    const [own, ...others] = await run(2, { cluster: 'web-*' })
    assert.ok(own)
    await run(1, { cluster: 'web-1' })
    assert.equal((await askEc2({ tags: { cluster: 'web-*' } })).members?.length, 3)
    const { env: place } = await serveMetadata(t, { 'instance-id': own.id })
    const seen = await askEc2({ tags: { cluster: null } }, { env: place })
    assert.deepEqual([seen.outcome, seen.members], ['complete', membersOf([own, ...others])], JSON.stringify(seen))
  })

  const NAMES = { namespace: 'prod', service: 'web' }

  /** A service whose health is what the test says it is. */
  async function createService(): Promise<string> {
    await cloudmap.send(new CreateHttpNamespaceCommand({ Name: NAMES.namespace }))
    const { Namespaces = [] } = await cloudmap.send(new ListNamespacesCommand({}))
    const { Service } = await cloudmap.send(
      new CreateServiceCommand({
        Name: NAMES.service,
        NamespaceId: Namespaces[0]?.Id,
        HealthCheckCustomConfig: { FailureThreshold: 1 },
      }),
    )
    return Service?.Id ?? assert.fail('expected a service')
  }
  const register = (ServiceId: string, InstanceId: string, Attributes: Record<string, string>) =>
    cloudmap.send(new RegisterInstanceCommand({ ServiceId, InstanceId, Attributes }))
  const setHealth = (ServiceId: string, InstanceId: string, Status: CustomHealthStatus) =>
    cloudmap.send(new UpdateInstanceCustomHealthStatusCommand({ ServiceId, InstanceId, Status }))

  test('Cloud Map lists who is healthy, or all', async () => {
    const service = await createService()
    await register(service, 'a', { AWS_INSTANCE_IPV4: '10.0.0.1', AWS_INSTANCE_PORT: '80' })
    await register(service, 'b', { AWS_INSTANCE_IPV4: '10.0.0.2' })
    await register(service, 'c', { AWS_INSTANCE_IPV6: 'fd00::3' })
    for (const id of ['a', 'b', 'c']) await setHealth(service, id, id === 'b' ? 'UNHEALTHY' : 'HEALTHY')
    const all = [
      { node: 'app@10.0.0.1', status: 'up', id: 'a' },
      { node: 'app@10.0.0.2', status: 'up', id: 'b' },
      { node: 'app@fd00::3', status: 'up', id: 'c' },
    ]
    const healthy = await askCloudmap(NAMES)
    assert.deepEqual(
      [healthy.outcome, healthy.members],
      ['complete', all.filter(({ id }) => id !== 'b')],
      JSON.stringify(healthy),
    )
    const every = await askCloudmap({ ...NAMES, health: 'all' })
    assert.deepEqual([every.outcome, every.members], ['complete', all])
  })

  test('Cloud Map lists those with the attributes, and forgets who is deregistered', async () => {
    const service = await createService()
    for (const [id, stage] of [
      ['a', 'blue'],
      ['b', 'blue'],
      ['c', 'green'],
    ] as const) {
      await register(service, id, { AWS_INSTANCE_IPV4: `10.0.0.${id.charCodeAt(0)}`, stage })
    }
    const options = { ...NAMES, health: 'all', attributes: { stage: 'blue' } }
    assert.deepEqual(
      (await askCloudmap(options)).members?.map(({ id }) => id),
      ['a', 'b'],
    )
    await cloudmap.send(new DeregisterInstanceCommand({ ServiceId: service, InstanceId: 'a' }))
    assert.deepEqual(
      (await askCloudmap(options)).members?.map(({ id }) => id),
      ['b'],
    )
  })

  test('Cloud Map is asked for its revision while that stays; a change of health, which moves none, is seen after 30 s', async () => {
    const service = await createService()
    for (const id of ['a', 'b']) {
      await register(service, id, { AWS_INSTANCE_IPV4: `10.0.0.${id.charCodeAt(0)}` })
      await setHealth(service, id, 'HEALTHY')
    }
    const source = createCloudmapSource({ env }) as Source<never>
    const listedAt = async (at: number) => {
      const seen = await look('cloudmap', source, NAMES, at)
      assert.equal(seen.outcome, 'complete', JSON.stringify(seen))
      return seen.members?.map(({ id }) => id).join()
    }
    assert.equal(await listedAt(1_000), 'a,b')
    await setHealth(service, 'b', 'UNHEALTHY')
    assert.equal(await listedAt(30_999), 'a,b')
    assert.equal(await listedAt(31_000), 'a')
    await register(service, 'c', { AWS_INSTANCE_IPV4: '10.0.0.99' })
    await setHealth(service, 'c', 'HEALTHY')
    assert.equal(await listedAt(36_000), 'a,c')
  })

  test('Cloud Map is complete with nobody in a service without instances, and fails without the service', async () => {
    await createService()
    const empty = await askCloudmap(NAMES)
    assert.deepEqual([empty.outcome, empty.members], ['complete', []])
    for (const wrong of [{ service: 'other' }, { namespace: 'other' }]) {
      const seen = await askCloudmap({ ...NAMES, ...wrong })
      assert.equal(seen.outcome === 'failed' && seen.error.code, 'no_service', JSON.stringify(seen))
    }
  })

  test('Cloud Map lists hundreds of instances, and is partial at its most', async () => {
    const service = await createService()
    const add = async (from: number, to: number) => {
      for (let n = from; n < to; n++)
        await register(service, `i${n}`, { AWS_INSTANCE_IPV4: `10.0.${n >> 8}.${n & 255}` })
    }
    await add(0, 400)
    const seen = await askCloudmap({ ...NAMES, health: 'all' })
    assert.deepEqual([seen.outcome, seen.members?.length], ['complete', 400])
    await add(400, 1_001)
    const full = await askCloudmap({ ...NAMES, health: 'all' })
    assert.deepEqual([full.outcome, full.members?.length], ['partial', 1_000])
  })
})
