import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { healthPath, readHealth, readIndex } from '../../core/sources/consul.ts'

const A = {
  Node: { Node: 'n1', Address: '10.1.0.1' },
  Service: { ID: 'web-1', Address: '10.0.0.1', Port: 4000 },
  Checks: [],
}

function read(answer: unknown) {
  return readHealth(answer, 'app')
}

describe('the answer of the health endpoint', () => {
  for (const [what, entry, node] of [
    ['the address of the service', A, 'app@10.0.0.1'],
    [
      'the address of the node where the service has none',
      { ...A, Service: { ...A.Service, Address: '' } },
      'app@10.1.0.1',
    ],
    ['the address of the node where the service has no such key', { ...A, Service: { ID: 'web-1' } }, 'app@10.1.0.1'],
    ['a host name', { ...A, Service: { Address: 'web-1.internal' } }, 'app@web-1.internal'],
    ['an IPv6 address in its one form', { ...A, Service: { Address: 'FD00:0::1' } }, 'app@fd00::1'],
  ] as const) {
    test(`names a node by ${what}`, () => {
      assert.deepEqual(read([entry]), { members: [{ node, status: 'up' }], flaws: [] })
    })
  }

  test('that is an empty list says itself that nobody is there', () => {
    assert.deepEqual(read([]), { members: [], flaws: [] })
  })

  for (const [what, bad] of Object.entries({
    'no address': { Node: {}, Service: { ID: 'web-2' } },
    'addresses of a wrong type': { Node: { Address: 5 }, Service: { Address: ['10.0.0.2'] } },
    'nothing in it': {},
    'null in it': { Node: null, Service: null },
    'an address with a blank': { Service: { Address: '10.0.0 .2' } },
    'an address with an @': { Service: { Address: 'app@10.0.0.2' } },
    'an address with a NUL byte': { Service: { Address: '10.0.0.2\0' } },
    'an address that is too long': { Service: { Address: 'x'.repeat(100_000) } },
    'nothing to it': null,
    'text instead': 'web-2',
  })) {
    test(`skips an instance with ${what}, tells it and keeps the rest`, () => {
      const { members, flaws } = read([A, bad])
      assert.deepEqual(members, [{ node: 'app@10.0.0.1', status: 'up' }])
      assert.equal(flaws.length, 1)
      assert.ok((flaws[0] ?? '').length < 200)
      assert.throws(() => read([bad]), { code: 'bad_answer' })
    })
  }

  for (const answer of [{}, null, 'web', 42, { Error: 'no' }]) {
    test(`like ${JSON.stringify(answer)} is no list`, () => {
      assert.throws(() => read(answer), {
        code: 'bad_answer',
        message: /^\[consul\] expected a list of instances, got /,
      })
    })
  }
})

describe('the question to the health endpoint', () => {
  test('asks for those that pass, in the datacenter, and waits since an index', () => {
    const given = { service: 'web', passing: true }
    assert.equal(healthPath(given, {}), '/v1/health/service/web?passing=true')
    assert.equal(
      healthPath(given, { datacenter: 'dc1', since: { index: 7, waitMs: 4_705 } }),
      '/v1/health/service/web?dc=dc1&passing=true&index=7&wait=4705ms',
    )
    assert.equal(healthPath({ service: 'w/e b?', passing: false }, {}), '/v1/health/service/w%2Fe%20b%3F')
    assert.equal(
      healthPath({ service: 'web', passing: false }, { datacenter: 'a&b' }),
      '/v1/health/service/web?dc=a%26b',
    )
  })

  test('goes on from the index in the header, but never from 0, which would not wait', () => {
    const table: [string | null, number | undefined][] = [
      ['42', 42],
      ['1', 1],
      ['0', 1],
      [null, undefined],
      ['', undefined],
      ['-4', undefined],
      ['x', undefined],
      ['1e9', undefined],
      ['18446744073709551615', undefined],
    ]
    for (const [header, index] of table) assert.equal(readIndex(header), index, String(header))
  })
})
