import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { RollcallError } from '../../core/error.ts'
import {
  type Ec2Options,
  ec2OptionsSchema,
  filtersOf,
  literally,
  nextToken,
  readReservations,
  readTag,
} from '../../core/sources/ec2.ts'

// As DescribeInstances says it, with little of what else it says.
const INSTANCE = {
  InstanceId: 'i-0abc',
  ImageId: 'ami-1',
  State: { Code: 16, Name: 'running' },
  PrivateIpAddress: '10.0.0.1',
  PublicIpAddress: '198.51.100.7',
  PrivateDnsName: 'ip-10-0-0-1.eu-west-1.compute.internal',
  NetworkInterfaces: [
    { Ipv6Addresses: [{ Ipv6Address: '2001:db8:0:0::2', IsPrimaryIpv6: false }] },
    { Ipv6Addresses: [{ Ipv6Address: '2001:db8:0:0::1', IsPrimaryIpv6: true }] },
  ],
  Tags: [
    { Key: 'Name', Value: 'web-1' },
    { Key: 'empty', Value: '' },
  ],
}

function page(...instances: unknown[]) {
  return { Reservations: [{ ReservationId: 'r-1', Instances: instances }] }
}

/** What a page gives, in a line: the name and status of a member, the text of a flaw, or nothing. */
function entryOf(instance: unknown, address: Ec2Options['address'] = 'private'): string {
  const [entry] = readReservations(page(instance), { basename: 'app', address })
  if (entry === undefined) return 'nothing'
  return typeof entry === 'string' ? 'flaw' : `${entry.node} ${entry.status} ${entry.id}`
}

const inState = (Name: string, rest: object = {}) => ({ ...INSTANCE, State: { Name }, ...rest })
const nowhere = { PrivateIpAddress: undefined }

describe('an instance of EC2', () => {
  const cases: [name: string, instance: unknown, address: Ec2Options['address'], expected: string][] = [
    ['runs', INSTANCE, 'private', 'app@10.0.0.1 up i-0abc'],
    ['is pending', inState('pending'), 'private', 'app@10.0.0.1 up i-0abc'],
    ['is pending, without an address yet', inState('pending', nowhere), 'private', 'nothing'],
    ['is shutting down', inState('shutting-down'), 'private', 'app@10.0.0.1 leaving i-0abc'],
    ['is shutting down, without an address any more', inState('shutting-down', nowhere), 'private', 'nothing'],
    ['is stopping', inState('stopping'), 'private', 'app@10.0.0.1 leaving i-0abc'],
    ['is stopped, and keeps its address', inState('stopped'), 'private', 'nothing'],
    ['is terminated', inState('terminated', nowhere), 'private', 'nothing'],
    ['is in a state of later days', inState('napping'), 'private', 'flaw'],
    ['is in no state', { ...INSTANCE, State: undefined }, 'private', 'flaw'],
    ['runs without an address', inState('running', nowhere), 'private', 'flaw'],
    ['has a public address', INSTANCE, 'public', 'app@198.51.100.7 up i-0abc'],
    ['has no public address', { ...INSTANCE, PublicIpAddress: '' }, 'public', 'flaw'],
    ['has two IPv6 addresses, and one is the primary', INSTANCE, 'ipv6', 'app@2001:db8::1 up i-0abc'],
    ['says its IPv6 address', { ...INSTANCE, Ipv6Address: '2001:DB8::9' }, 'ipv6', 'app@2001:db8::9 up i-0abc'],
    ['has no IPv6 address', { ...INSTANCE, NetworkInterfaces: [] }, 'ipv6', 'flaw'],
    ['has network interfaces that are none', { ...INSTANCE, NetworkInterfaces: [null, 5, {}] }, 'ipv6', 'flaw'],
    ['has a name', INSTANCE, 'dns', 'app@ip-10-0-0-1.eu-west-1.compute.internal up i-0abc'],
    ['has an empty name, as before it has an address', { ...INSTANCE, PrivateDnsName: '' }, 'dns', 'flaw'],
    ['has a name that no node can have', { ...INSTANCE, PrivateDnsName: 'a b@c' }, 'dns', 'flaw'],
    ['has an address of a wrong type', { ...INSTANCE, PrivateIpAddress: 167_772_161 }, 'private', 'flaw'],
    [
      'has an IPv6 address where an IPv4 address is wanted',
      { ...INSTANCE, PrivateIpAddress: '::1' },
      'private',
      'flaw',
    ],
    ['has no id', { ...INSTANCE, InstanceId: undefined }, 'private', 'flaw'],
    ['has an id without end', { ...INSTANCE, InstanceId: 'i'.repeat(256) }, 'private', 'flaw'],
    ['is null', null, 'private', 'flaw'],
    ['is a text', 'i-0abc', 'private', 'flaw'],
  ]
  for (const [name, instance, address, expected] of cases) {
    it(`${name}: ${expected}`, () => assert.equal(entryOf(instance, address), expected))
  }

  it('is one of several reservations', () => {
    const answer = {
      Reservations: [...page(INSTANCE).Reservations, ...page({ ...INSTANCE, InstanceId: 'i-2' }).Reservations],
    }
    assert.equal(readReservations(answer, { basename: 'app', address: 'private' }).length, 2)
  })

  it('is missing where a reservation has none, which is a flaw', () => {
    for (const reservation of [{}, null, 5, { Instances: [] }, { Instances: {} }]) {
      const [entry] = readReservations({ Reservations: [reservation] }, { basename: 'app', address: 'private' })
      assert.equal(typeof entry, 'string')
    }
  })
})

describe('a page of EC2', () => {
  it('lists nobody only when it has a list', () => {
    assert.deepEqual(readReservations({ Reservations: [] }, { basename: 'app', address: 'private' }), [])
    for (const answer of [
      undefined,
      null,
      {},
      [],
      5,
      { Reservations: null },
      { Reservations: {} },
      { Reservations: 'x' },
    ]) {
      assert.throws(
        () => readReservations(answer, { basename: 'app', address: 'private' }),
        (error: RollcallError) => error.code === 'bad_answer' && error.message.startsWith('[ec2] expected '),
      )
    }
  })

  it('has the rest where its token says, and an empty one says that there is none', () => {
    assert.deepEqual([{ NextToken: 'a' }, { NextToken: '' }, {}, null, { NextToken: 5 }].map(nextToken), [
      'a',
      undefined,
      undefined,
      undefined,
      undefined,
    ])
  })

  it('tells the value of a tag, empty ones too, and of one that is not there nothing', () => {
    assert.equal(readTag(page(INSTANCE), 'Name'), 'web-1')
    assert.equal(readTag(page(INSTANCE), 'empty'), '')
    assert.equal(readTag(page(INSTANCE), 'name'), undefined)
    assert.equal(readTag(page({ ...INSTANCE, Tags: undefined }), 'Name'), undefined)
    assert.equal(readTag(page({ ...INSTANCE, Tags: [null, 5] }), 'Name'), undefined)
    for (const answer of [{ Reservations: [] }, page('i-1'), page({ ...INSTANCE, Tags: 5 }), {}]) {
      assert.throws(() => readTag(answer, 'Name'), { code: 'bad_answer' })
    }
  })
})

describe('the question to EC2', () => {
  it('names each tag, and the states of an instance that is there', () => {
    assert.deepEqual(filtersOf({ cluster: 'web', 'a:b': '' }), [
      { Name: 'tag:cluster', Values: ['web'] },
      { Name: 'tag:a:b', Values: [''] },
      { Name: 'instance-state-name', Values: ['pending', 'running', 'shutting-down', 'stopping'] },
    ])
  })

  it('can mean a value with wildcards itself', () => {
    assert.equal(literally('a*b?c\\d'), 'a\\*b\\?c\\\\d')
  })

  it('takes a tag without a value as null, which YAML makes of it', () => {
    const { tags } = ec2OptionsSchema.parse({ tags: { cluster: null, stage: 'prod' } })
    assert.deepEqual(tags, { cluster: null, stage: 'prod' })
    assert.deepEqual(ec2OptionsSchema.parse({}).tags, {})
  })

  it('has as many tags as an instance can have', () => {
    const tags = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, index) => [`t${index}`, 'v']))
    assert.equal(ec2OptionsSchema.safeParse({ tags: tags(50) }).success, true)
    assert.equal(ec2OptionsSchema.safeParse({ tags: tags(51) }).success, false)
  })

  it('goes to a region that can be a part of a host', () => {
    for (const region of ['eu-west-1', 'us-gov-east-1', 'eusc-de-east-1', 'local']) {
      assert.equal(ec2OptionsSchema.safeParse({ region }).success, true, region)
    }
    for (const region of ['', 'eu-west-1.evil.test', 'a/b', 'a@b', 'EU', '-a', 'a-', 'a'.repeat(64)]) {
      assert.equal(ec2OptionsSchema.safeParse({ region }).success, false, region)
    }
  })
})
