import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { readService, servicePath } from '../../core/sources/rancher.ts'

const A = {
  name: 'web-1',
  uuid: 'u-1',
  state: 'running',
  health_state: 'healthy',
  ips: ['10.42.0.1'],
  primary_ip: '10.42.0.1',
}
const B = { ...A, name: 'web-2', uuid: 'u-2', ips: ['10.42.0.2'] }
const nodeA = { node: 'app@10.42.0.1', status: 'up', id: 'u-1' }
const nodeB = { node: 'app@10.42.0.2', status: 'up', id: 'u-2' }

function read(answer: unknown) {
  return readService(answer, 'app')
}

describe('the answer of the metadata service', () => {
  test('names a node for each container, by its first address', () => {
    const answer = { name: 'web', containers: [A, { ...B, ips: ['10.42.0.2', '10.42.9.9'] }] }
    assert.deepEqual(read(answer), { members: [nodeA, nodeB], flaws: [] })
  })

  test('may be a list of services', () => {
    assert.deepEqual(read([{ containers: [A] }, { containers: [B] }]).members, [nodeA, nodeB])
  })

  test('has IPv6 addresses in their one form', () => {
    assert.equal(read({ containers: [{ ...A, ips: ['FD00:0::1'] }] }).members[0]?.node, 'app@fd00::1')
  })

  for (const containers of [[], null]) {
    test(`with containers ${JSON.stringify(containers)} says itself that nobody is there`, () => {
      assert.deepEqual(read({ name: 'web', containers }), { members: [], flaws: [] })
    })
  }

  for (const [state, status] of Object.entries({
    running: 'up',
    starting: 'up',
    restarting: 'up',
    'updating-running': 'up',
    'some-new-state': 'up',
    stopping: 'leaving',
    removing: 'leaving',
    stopped: undefined,
    removed: undefined,
    purged: undefined,
    error: undefined,
    creating: undefined,
    requested: undefined,
  })) {
    test(`lists a container that is ${state} as ${status ?? 'nobody'}`, () => {
      const { members, flaws } = read({ containers: [{ ...A, state }] })
      assert.deepEqual(members, status === undefined ? [] : [{ ...nodeA, status }])
      assert.deepEqual(flaws, [])
    })
  }

  test('keeps an unhealthy container, and one without a state', () => {
    const { state: _state, ...stateless } = B
    const { members } = read({ containers: [{ ...A, health_state: 'unhealthy' }, stateless] })
    assert.deepEqual(members, [nodeA, nodeB])
  })

  for (const [what, bad] of Object.entries({
    'no addresses': { ...B, ips: [] },
    'no key ips': { name: 'web-2', state: 'running' },
    'null for addresses': { ...B, ips: null },
    'an address of a wrong type': { ...B, ips: [42] },
    'an address that is none': { ...B, ips: ['10.42.0'] },
    'an address with a NUL byte': { ...B, ips: ['10.42.0.2\0'] },
    'a name only': 'web-2',
    nothing: null,
    'a number': 7,
  })) {
    test(`skips a container with ${what}, tells it and keeps the rest`, () => {
      const { members, flaws } = read({ containers: [A, bad] })
      assert.deepEqual(members, [nodeA])
      assert.equal(flaws.length, 1)
      assert.match(
        flaws[0] ?? '',
        /^\[rancher\] expected an IP address of the container (without a name|"web-2"), got none$/,
      )
      assert.throws(() => read({ containers: [bad] }), { code: 'bad_answer' })
    })
  }

  test('lists nobody whose name would be too long', () => {
    assert.throws(() => readService({ containers: [A] }, 'x'.repeat(250)), { code: 'bad_answer' })
  })

  test('gives no id that is none', () => {
    for (const uuid of [5, null, 'u'.repeat(300)]) {
      assert.deepEqual(read({ containers: [{ ...A, uuid }] }).members, [{ node: nodeA.node, status: 'up' }])
    }
  })

  test('that is an empty list knows no such service, which is not nobody', () => {
    assert.throws(() => read([]), { code: 'no_service', message: /check stack and service/ })
  })

  for (const answer of [
    {},
    { containers: {} },
    { containers: 'web-1' },
    null,
    'web',
    42,
    [{ containers: [A] }, null],
  ]) {
    test(`like ${JSON.stringify(answer)} is no service`, () => {
      assert.throws(() => read(answer), { code: 'bad_answer' })
    })
  }

  test('may be nested as deep as it likes', () => {
    const deep = JSON.parse(`${'['.repeat(100_000)}${']'.repeat(100_000)}`) as unknown
    assert.throws(() => read(deep), { code: 'bad_answer' })
    assert.equal(read({ containers: [A, deep, { ...B, ips: deep }] }).flaws.length, 2)
  })
})

test('the own service is asked for, one of the own stack, or one of another', () => {
  assert.equal(servicePath({}), '/latest/self/service')
  assert.equal(servicePath({ service: 'web' }), '/latest/self/stack/services/web')
  assert.equal(servicePath({ stack: 'a/b', service: 'w eb' }), '/latest/stacks/a%2Fb/services/w%20eb')
})
