import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  claim,
  isForgotten,
  type Lease,
  leftMs,
  listLeases,
  type RegistryClock,
  release,
  startClock,
} from '../../core/lease.ts'

const TTL = 30_000

/** A store as simple as can be, with a clock that the test moves. */
function store(startedAt = 1_000_000) {
  let clock: RegistryClock = startClock(startedAt)
  let now = startedAt
  const leases = new Map<string, Lease>()
  let writes = 0
  const at = () => ({ clock, now, ttlMs: TTL })
  function keep(node: string, change: ReturnType<typeof claim>) {
    if (change.write === undefined) return change.ttlMs
    writes++
    clock = change.write.clock
    leases.set(node, change.write.lease)
    return change.ttlMs
  }
  return {
    pass: (ms: number) => void (now += ms),
    put: (node: string, id: string, more = {}) => keep(node, claim({ node, id, ...more }, leases.get(node), at())),
    remove: (node: string, id: string) => keep(node, release({ node, id }, leases.get(node), at())),
    list: () => listLeases(leases.values(), at()),
    names: () => listLeases(leases.values(), at()).members.map(({ node, status }) => `${node} ${status}`),
    left: (node: string) => leftMs(leases.get(node) as Lease, at()),
    writes: () => writes,
  }
}

/** Renews every third of a lease for `ms`. */
function keepAlive(registry: ReturnType<typeof store>, nodes: readonly string[], ms: number): void {
  for (let passed = 0; passed < ms; passed += TTL / 3) {
    for (const node of nodes) registry.put(node, node)
    registry.pass(TTL / 3)
  }
}

describe('A lease', () => {
  test('lists its node from the claim until it ends, and renewing keeps it', () => {
    const registry = store()
    keepAlive(registry, ['a@h', 'b@h'], 10 * TTL)
    assert.deepEqual(registry.list(), {
      outcome: 'complete',
      members: [
        { node: 'a@h', status: 'up', id: 'a@h' },
        { node: 'b@h', status: 'up', id: 'b@h' },
      ],
    })
    keepAlive(registry, ['a@h'], TTL)
    assert.deepEqual(registry.names(), ['a@h up'])
  })

  test('is not written while more than two thirds are left, unless something changed', () => {
    const registry = store()
    registry.put('a@h', '1')
    registry.pass(TTL / 3 - 1)
    registry.put('a@h', '1')
    assert.equal(registry.writes(), 1)
    registry.put('a@h', '1', { meta: { zone: 'x' } })
    assert.equal(registry.writes(), 2)
    registry.put('a@h', '1', { meta: { zone: 'x' }, status: 'leaving' })
    assert.deepEqual([registry.writes(), registry.names()], [3, ['a@h leaving']])
    registry.pass(TTL / 3)
    registry.put('a@h', '1', { meta: { zone: 'x' }, status: 'leaving' })
    assert.equal(registry.writes(), 4)
  })

  test('lasts as long as was asked for, within a second and what the registry grants', () => {
    const registry = store()
    assert.equal(registry.put('a@h', '1', { ttlMs: 5_000 }), 5_000)
    assert.equal(registry.put('b@h', '1', { ttlMs: 1 }), 1_000)
    assert.equal(registry.put('c@h', '1', { ttlMs: 10 * TTL }), TTL)
    registry.pass(5_000)
    assert.deepEqual(registry.names(), ['c@h up'])
  })

  test('of another start of the node replaces the one before, and the old start cannot end it', () => {
    const registry = store()
    registry.put('a@h', 'old')
    registry.put('a@h', 'new')
    assert.throws(() => registry.remove('a@h', 'old'), { code: 'replaced' })
    assert.deepEqual(registry.list().members, [{ node: 'a@h', status: 'up', id: 'new' }])
  })
})

describe('Who leaves', () => {
  test('is shown as leaving at once, for one lease longer than its lease, and cannot come back as the same start', () => {
    const registry = store()
    keepAlive(registry, ['b@h'], 2 * TTL)
    registry.put('a@h', '1')
    registry.pass(1_000)
    registry.put('b@h', 'b@h')
    registry.remove('a@h', '1')
    assert.deepEqual(registry.names(), ['a@h leaving', 'b@h up'])
    assert.equal(registry.left('a@h'), 2 * TTL - 1_000)
    assert.throws(() => registry.put('a@h', '1'), { code: 'left' })
    const before = registry.writes()
    registry.remove('a@h', '1')
    assert.equal(registry.writes(), before, 'leaving twice is leaving once')
    keepAlive(registry, ['b@h'], 2 * TTL)
    assert.deepEqual(registry.names(), ['b@h up'])
    registry.put('a@h', '1')
    assert.deepEqual(registry.names(), ['a@h up', 'b@h up'])
  })

  test('comes back at once as another start', () => {
    const registry = store()
    registry.put('a@h', '1')
    registry.remove('a@h', '1')
    registry.put('a@h', '2')
    assert.deepEqual(registry.list().members, [{ node: 'a@h', status: 'up', id: '2' }])
  })

  test('without a lease changes nothing', () => {
    const registry = store()
    registry.remove('a@h', '1')
    assert.deepEqual([registry.writes(), registry.names()], [0, []])
  })
})

describe('A registry that was away', () => {
  test('is partial until it has been there for a lease', () => {
    const registry = store()
    assert.equal(registry.list().outcome, 'partial')
    keepAlive(registry, ['a@h'], TTL)
    assert.equal(registry.list().outcome, 'complete')
  })

  for (const awayMs of [TTL / 2 + 1, TTL, 2 * TTL, 20 * TTL]) {
    test(`for ${awayMs} ms never leaves out, in a complete answer, a node that renews when it is back`, () => {
      const registry = store()
      const nodes = ['a@h', 'b@h', 'c@h']
      keepAlive(registry, nodes, 2 * TTL)
      registry.pass(awayMs)
      const listed = () => {
        const { outcome, members } = registry.list()
        if (outcome === 'complete') assert.equal(members.length, 3, `after ${awayMs} ms`)
      }
      listed()
      for (const node of nodes) {
        registry.put(node, node)
        listed()
        registry.pass(TTL / 9)
        listed()
      }
      keepAlive(registry, nodes, 2 * TTL)
      assert.equal(registry.list().outcome, 'complete')
      listed()
    })
  }

  test('lets a node that is gone end all the same', () => {
    const registry = store()
    keepAlive(registry, ['a@h', 'gone@h'], 2 * TTL)
    registry.pass(2 * TTL)
    keepAlive(registry, ['a@h'], 2 * TTL)
    assert.deepEqual(registry.list(), { outcome: 'complete', members: [{ node: 'a@h', status: 'up', id: 'a@h' }] })
  })
})

test('a lease that has ended is kept for as long as an extension may bring it back', () => {
  const clock = startClock(0)
  const { write } = claim({ node: 'a@h', id: 'one' }, undefined, { clock, now: 0, ttlMs: TTL })
  const lease = write?.lease as Lease
  const later = { ...clock, lastWriteAt: 20_000 }
  assert.ok(leftMs(lease, { clock: later, now: 31_000, ttlMs: TTL }) < 0)
  assert.equal(isForgotten(lease, { clock: later, now: 31_000, ttlMs: TTL }), false)
  assert.ok(leftMs(lease, { clock: later, now: 36_000, ttlMs: TTL }) > 0, 'nobody wrote for half a lease')
  assert.equal(isForgotten(lease, { clock: { ...clock, lastWriteAt: 60_000 }, now: 60_000, ttlMs: TTL }), true)
})

test('whatever happens: no complete answer leaves out who renewed within its lease, or lists who was silent for three', () => {
  const step = fc.record({
    node: fc.constantFrom('a@h', 'b@h', 'c@h'),
    passMs: fc.oneof(fc.nat(TTL / 2), fc.nat(4 * TTL)),
    writes: fc.boolean(),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const registry = store(0)
      const renewedAt = new Map<string, number>()
      let now = 0
      for (const { node, passMs, writes } of steps) {
        registry.pass(passMs)
        now += passMs
        if (writes) {
          registry.put(node, node)
          renewedAt.set(node, now)
        }
        const { outcome, members } = registry.list()
        const names = new Set(members.map((member) => member.node))
        for (const [known, at] of renewedAt) {
          // A claim with more than two thirds left is not written: a lease runs from the write.
          if (now - at < (TTL * 2) / 3 && outcome === 'complete') assert.ok(names.has(known), `${known} left out`)
          if (now - at >= 3 * TTL) assert.ok(!names.has(known) || outcome === 'partial', `${known} kept`)
        }
      }
    }),
    { seed: 20_261_121, numRuns: 2_000 },
  )
})
