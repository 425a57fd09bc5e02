import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { cloudmapOptionsSchema, MAX_INSTANCES, readInstances, readRevision } from '../../core/sources/cloudmap.ts'

// As DiscoverInstances says it of a task of ECS.
const INSTANCE = {
  InstanceId: 'b5e1d8',
  NamespaceName: 'prod',
  ServiceName: 'web',
  HealthStatus: 'HEALTHY',
  Attributes: { AVAILABILITY_ZONE: 'eu-west-1a', AWS_INSTANCE_IPV4: '10.0.0.1', AWS_INSTANCE_PORT: '4000' },
}
const BESIDE = { InstanceId: 'beside', Attributes: { AWS_INSTANCE_IPV4: '10.0.0.9' } }

/** What one instance beside another gives, in a line. */
function entryOf(instance: unknown): string {
  const { members, flaws } = readInstances({ Instances: [BESIDE, instance] }, 'app')
  const [, member] = members
  return member === undefined ? `${flaws.length} flaw` : `${member.node} ${member.status} ${member.id}`
}

const at = (Attributes: unknown) => ({ ...INSTANCE, Attributes })

describe('an instance of Cloud Map', () => {
  const cases: [name: string, instance: unknown, expected: string][] = [
    ['has an IPv4 address', INSTANCE, 'app@10.0.0.1 up b5e1d8'],
    ['has an IPv6 address', at({ AWS_INSTANCE_IPV6: '2001:DB8:0::1' }), 'app@2001:db8::1 up b5e1d8'],
    ['has both', at({ AWS_INSTANCE_IPV4: '10.0.0.1', AWS_INSTANCE_IPV6: 'fd00::1' }), 'app@10.0.0.1 up b5e1d8'],
    [
      'has a bad one and a good one',
      at({ AWS_INSTANCE_IPV4: '', AWS_INSTANCE_IPV6: 'fd00::1' }),
      'app@fd00::1 up b5e1d8',
    ],
    ['is unhealthy', { ...INSTANCE, HealthStatus: 'UNHEALTHY' }, 'app@10.0.0.1 up b5e1d8'],
    ['has a name only', at({ AWS_INSTANCE_CNAME: 'a.test' }), '1 flaw'],
    ['has no attributes', at(undefined), '1 flaw'],
    ['has attributes of a wrong type', at('10.0.0.1'), '1 flaw'],
    ['has an address of a wrong type', at({ AWS_INSTANCE_IPV4: 7 }), '1 flaw'],
    ['has an address that is none', at({ AWS_INSTANCE_IPV4: '10.0.0.1/24' }), '1 flaw'],
    ['has no id', { ...INSTANCE, InstanceId: undefined }, '1 flaw'],
    ['is null', null, '1 flaw'],
    ['is a list', [], '1 flaw'],
  ]
  for (const [name, instance, expected] of cases) {
    it(`${name}: ${expected}`, () => assert.equal(entryOf(instance), expected))
  }
})

describe('an answer of Cloud Map', () => {
  it('lists nobody only when it has a list', () => {
    assert.deepEqual(readInstances({ Instances: [], InstancesRevision: 5 }, 'app'), {
      members: [],
      flaws: [],
      revision: 5,
    })
    for (const answer of [undefined, null, {}, [], 5, { Instances: null }, { Instances: {} }, { Instances: 'x' }]) {
      assert.throws(() => readInstances(answer, 'app'), { code: 'bad_answer' })
    }
  })

  it('is no list of nobody when nothing in it can be read', () => {
    assert.throws(() => readInstances({ Instances: [null, {}] }, 'app'), { code: 'bad_answer' })
  })

  it('is flawed at the most that there can be, and not below', () => {
    const many = (length: number) =>
      Array.from({ length }, (_, n) => ({
        ...INSTANCE,
        Attributes: { AWS_INSTANCE_IPV4: `10.0.${n >> 8}.${n & 255}` },
      }))
    assert.equal(readInstances({ Instances: many(MAX_INSTANCES - 1) }, 'app').flaws.length, 0)
    const { members, flaws } = readInstances({ Instances: many(MAX_INSTANCES) }, 'app')
    assert.equal(members.length, MAX_INSTANCES)
    assert.match(flaws.join(), /fewer than 1000 instances/)
  })

  it('has a revision that is a number', () => {
    assert.deepEqual(
      [{ InstancesRevision: 0 }, { InstancesRevision: {} }, {}, null, { InstancesRevision: '7' }].map(readRevision),
      [0, undefined, undefined, undefined, undefined],
    )
  })
})

describe('the options of Cloud Map', () => {
  it('need a namespace and a service, and take as many attributes as Cloud Map does', () => {
    const attributes = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, index) => [`a${index}`, 'v']))
    const parse = (options: object) => cloudmapOptionsSchema.safeParse(options).success
    assert.equal(parse({ namespace: 'prod', service: 'web', attributes: attributes(10) }), true)
    assert.equal(parse({ namespace: 'prod', service: 'web', attributes: attributes(11) }), false)
    assert.equal(parse({ namespace: 'prod' }), false)
    assert.equal(parse({ service: 'web' }), false)
  })
})
