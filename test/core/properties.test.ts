import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { plan } from '../../core/plan.ts'
import { defaultPolicy } from '../../core/policy.ts'
import type { State } from '../../core/state.ts'
import { type Answer, agent, names, observation, random, sample } from './rounds.ts'

const SEED = 20_261_120
const runs = (numRuns: number) => ({ numRuns, seed: SEED })

/** What any source may say of a mesh of `count`, and what the world does meanwhile. */
function anyRounds(count: number, length: number) {
  const all = names(count)
  const answer: fc.Arbitrary<Answer> = fc.oneof(
    { weight: 4, arbitrary: fc.subarray(all, { minLength: count - 2 }) },
    { weight: 3, arbitrary: fc.subarray(all) },
    { weight: 2, arbitrary: fc.constant(all) },
    { weight: 1, arbitrary: fc.constant<Answer>('failed') },
    { weight: 1, arbitrary: fc.constant<Answer>('silent') },
    { weight: 1, arbitrary: fc.subarray(all).map((partial) => ({ partial })) },
  )
  const elapsedMs = fc.oneof(fc.constant(5_000), fc.integer({ min: -7_200_000, max: 7_200_000 }))
  const dead = fc.subarray(all, { maxLength: 2 })
  return fc.array(fc.record({ answer, other: answer, elapsedMs, dead, repeat: fc.integer({ min: 1, max: 30 }) }), {
    minLength: 1,
    maxLength: length,
  })
}

test('with stable sources and reachable peers links become wanted and stay', () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 300 }), fc.integer({ min: 1, max: 1_000 }), (count, seed) => {
      const mesh = agent()
      const next = random(seed)
      for (const node of names(count, 2)) mesh.alive.add(node)
      for (let round = 0; round < 10; round++) mesh.round(sample(names(count + 1), count + 1, next))
      assert.equal(mesh.links.size, count)
      const dials = mesh.dials.length
      mesh.rounds(20, names(count + 1))
      assert.deepEqual([mesh.dials.length, mesh.cuts.length, mesh.plan.hold.length], [dials, 0, 0])
    }),
    runs(40),
  )
})

test('never more removals in any window than the guard allows, unless confirmed, whatever the observations', () => {
  const count = 12
  let removed = 0
  fc.assert(
    fc.property(anyRounds(count, 40), (rounds) => {
      const mesh = agent()
      mesh.form(names(count))
      const removals: number[] = []
      let observedMs = 0
      // How long each node has been left out by every answer, as the guard's confirmation counts it at most.
      const leftOutMs = new Map<string, number>()
      for (const { answer, other, elapsedMs, repeat } of rounds) {
        for (let index = 0; index < repeat; index++) {
          observedMs += Math.min(Math.max(0, elapsedMs), mesh.intervalMs)
          const answers = { a: answer, b: index % 2 === 0 ? other : answer }
          for (const node of names(count)) {
            const named = Object.values(answers).some((each) => Array.isArray(each) && each.includes(node))
            leftOutMs.set(node, named ? 0 : (leftOutMs.get(node) ?? 0) + mesh.intervalMs)
          }
          const made = mesh.round(answers, elapsedMs)
          for (const { node } of made.events.filter(({ type }) => type === 'member_absent')) {
            if ((leftOutMs.get(node ?? '') ?? 0) < defaultPolicy.confirm) removals.push(observedMs)
          }
          removed += removals.length
          const recent = removals.filter((at) => observedMs - at < defaultPolicy.confirm)
          assert.ok(
            recent.length <= Math.max(1, Math.floor(defaultPolicy.budget * count)),
            `${recent.length} in a window`,
          )
          // Whoever was cut is listed and dialled again later: the world stays full.
          for (const node of names(count - 1, 2)) if (!mesh.links.has(node)) mesh.links.add(node)
        }
      }
    }),
    runs(150),
  )
  assert.ok(removed > 0, 'the rounds drawn do remove nodes')
})

for (const kind of ['failed', 'partial', 'doubted'] as const) {
  test(`a ${kind} answer never causes a cut, however long`, () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 20 }), fc.subarray(names(20)), (count, part) => {
        const mesh = agent()
        mesh.form(names(count))
        const answer = (round: number): Answer => {
          if (kind === 'failed') return 'failed'
          if (kind === 'partial') return { partial: part }
          return round % 2 === 0 ? [] : ['n1@h']
        }
        for (let round = 0; round < 1_000; round++) mesh.round({ dns: answer(round) })
        assert.deepEqual([mesh.cuts, mesh.links.size, mesh.plan.leave], [[], count - 1, false])
      }),
      runs(15),
    )
  })
}

for (const [listed, of] of [
  [8, 10],
  [1, 40],
  [8, 20],
  [10, 11],
] as const) {
  test(`a source that lists ${listed} of ${of} at random cuts nobody in 1,000 rounds`, () => {
    for (let seed = 1; seed <= 12; seed++) {
      const mesh = agent()
      const next = random(seed)
      mesh.form(names(of))
      for (let round = 0; round < 1_000; round++) {
        mesh.round(sample(names(of), listed, next))
        assert.equal(mesh.plan.leave, false)
      }
      assert.deepEqual([mesh.cuts, mesh.links.size], [[], of - 1], `seed ${seed}`)
      const dead = `n${of}@h`
      mesh.alive.delete(dead)
      for (let round = 0; round < 80; round++) mesh.round(sample(names(of - 1), Math.min(listed, of - 1), next))
      assert.ok(!JSON.stringify(mesh.state).includes(`"${dead}"`), `a dead node is forgotten, seed ${seed}`)
    }
  })
}

test('a watch that only proves that it lives, every interval, still removes', () => {
  const mesh = agent()
  mesh.form(names(6))
  const answer = names(5)
  mesh.rounds(13, answer)
  assert.deepEqual(mesh.cuts, ['n6@h'])
})

test('one flapping record does not stop the removal of another node', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10 }), fc.integer({ min: 1, max: 10 }), (out, back) => {
      const mesh = agent()
      mesh.form(names(10))
      for (let round = 0; round < 60; round++) {
        mesh.round(round % (out + back) < out ? names(8) : names(9))
      }
      assert.deepEqual(mesh.cuts, ['n10@h'])
    }),
    runs(60),
  )
})

test('a rolling restart under the same names trips nothing', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 0, max: 5 }), (down, lag) => {
      const mesh = agent()
      mesh.form(names(10))
      for (const node of names(9, 2)) {
        const others = names(10).filter((other) => other !== node)
        mesh.alive.delete(node)
        mesh.rounds(down, others)
        mesh.alive.add(node)
        mesh.rounds(lag, others)
        mesh.rounds(3, names(10))
      }
      assert.deepEqual(mesh.cuts, [])
      assert.equal(mesh.links.size, 9)
      const told = mesh.eventTypes()
      assert.ok(!told.includes('guard_raised') && !told.includes('source_doubted'), told.join())
    }),
    runs(30),
  )
})

test('a caller from cron removes within the calls that rule 8 implies', () => {
  for (const intervalMs of [60_000, 300_000]) {
    const mesh = agent({ intervalMs })
    mesh.form(names(5))
    // The first miss counts for nothing, each further one for an interval; the grace is never below three.
    mesh.rounds(3, names(4))
    assert.deepEqual(mesh.cuts, [])
    mesh.round(names(4))
    assert.deepEqual(mesh.cuts, ['n5@h'])
  }
  // Called every minute with an interval of 5 s: each call counts for 5 s, so a grace of 1 m takes 12 calls after the first.
  const slow = agent()
  slow.form(names(5))
  for (let call = 0; call < 12; call++) slow.round(names(4), 60_000)
  assert.deepEqual(slow.cuts, [])
  slow.round(names(4), 60_000)
  assert.deepEqual(slow.cuts, ['n5@h'])
})

test('ten agents with the same view cut the same nodes', () => {
  fc.assert(
    fc.property(fc.subarray(names(10), { minLength: 1 }), (kept) => {
      const removed = names(10).map((self) => {
        const mesh = agent({ self })
        mesh.form(names(10))
        const decided: string[][] = []
        for (let round = 0; round < 80; round++) {
          const made = mesh.round(kept)
          const absent = made.events.filter(({ type }) => type === 'member_absent').map(({ node }) => node ?? '')
          if (absent.length > 0) decided.push([`round ${round}`, ...absent.toSorted()])
        }
        return { self, decided }
      })
      // An answer that lists nobody but self is doubted by that one node alone: it is of no use to it, and to all others it is.
      const views = removed.filter(({ self }) => kept.some((node) => node !== self))
      for (const { decided } of views) assert.deepEqual(decided, views[0]?.decided)
    }),
    runs(40),
  )
})

test('nobody who was never listed is cut, and self is never dialled, whatever the observations', () => {
  fc.assert(
    fc.property(anyRounds(8, 30), (rounds) => {
      const mesh = agent()
      mesh.alive.add('stranger@h')
      mesh.links.add('stranger@h')
      mesh.form(names(8))
      for (const { answer, other, elapsedMs, repeat } of rounds) {
        for (let index = 0; index < repeat; index++) mesh.round({ a: answer, b: other }, elapsedMs)
      }
      assert.ok(mesh.links.has('stranger@h'))
      assert.ok(!mesh.dials.includes('n1@h') && !mesh.dials.includes('stranger@h'))
    }),
    runs(150),
  )
})

test('an empty answer makes nobody leave', () => {
  const mesh = agent()
  mesh.form(names(5))
  for (let round = 0; round < 2_000; round++) {
    assert.equal(mesh.round([]).leave, false)
  }
  assert.deepEqual([mesh.cuts, mesh.links.size], [[], 4])
})

test('the same plan asked again at once orders nothing new, and gives the same state', () => {
  fc.assert(
    fc.property(anyRounds(8, 20), (rounds) => {
      const mesh = agent()
      mesh.form(names(8))
      for (const { answer, other, elapsedMs, dead } of rounds) {
        for (const node of dead) mesh.links.delete(node)
        mesh.now += elapsedMs
        const first = mesh.decide({ a: answer, b: other })
        const again = mesh.decide({ a: answer, b: other })
        assert.deepEqual(again.connect, [])
        assert.deepEqual(again.events, [])
        assert.deepEqual(again.disconnect, first.disconnect)
        assert.deepEqual(again.state, first.state)
      }
    }),
    runs(150),
  )
})

test('clocks that jump either way cause no cut and no wait beyond maxWait', () => {
  const jump = fc.integer({ min: -100 * 3_600_000, max: 100 * 3_600_000 })
  fc.assert(
    fc.property(fc.array(jump, { minLength: 1, maxLength: 40 }), (jumps) => {
      const mesh = agent()
      mesh.form(names(10))
      mesh.alive.delete('n10@h')
      for (const elapsedMs of jumps) {
        // One round of a short answer after each jump, then two of the whole: never three misses in a row.
        const made = mesh.round(names(9), elapsedMs)
        assert.ok(made.recheckAt > mesh.now, 'a plan never asks for an instant that has passed')
        for (const { reason, until = mesh.now } of made.hold) {
          const bound = reason === 'backoff' ? defaultPolicy.maxWait : defaultPolicy.confirm
          assert.ok(until - mesh.now <= bound, `${reason} for ${until - mesh.now} ms`)
        }
        mesh.round(names(10))
        mesh.round(names(10))
      }
      assert.deepEqual(mesh.cuts, [])
    }),
    runs(150),
  )
})

test('State stays bounded over 10,000 deploys, each with new names', () => {
  const mesh = agent()
  mesh.form(names(10))
  let largest = 0
  let previous = names(9, 2)
  for (let deploy = 1; deploy <= 10_000; deploy++) {
    const current = names(9, 2 + deploy * 9)
    for (const node of current) mesh.alive.add(node)
    mesh.round(['n1@h', ...previous, ...current])
    for (const node of previous) mesh.alive.delete(node)
    mesh.round(['n1@h', ...current])
    mesh.round(['n1@h', ...current])
    previous = current
    largest = Math.max(largest, JSON.stringify(mesh.state).length)
    mesh.events.length = 0
    mesh.dials.length = 0
  }
  assert.ok(largest < 12_000, `${largest} bytes`)
})

test('same input, same output, and the input is left as it was', () => {
  fc.assert(
    fc.property(anyRounds(8, 15), (rounds) => {
      let state: State | undefined
      let now = 1_700_000_000_000
      for (const { answer, other, elapsedMs, dead } of rounds) {
        now += elapsedMs
        const observations = Object.entries({ a: answer, b: other }).flatMap(([source, each]) =>
          each === 'silent' ? [] : [observation(source, now, each)],
        )
        const links = names(8).filter((node) => !dead.includes(node))
        const topologies = { web: { sources: ['a', 'b'], intervalMs: 5_000, policy: defaultPolicy, observations } }
        const input = deepFreeze({ self: 'n1@h', now, links, topologies })
        const made = plan(deepFreeze(state), input)
        assert.deepEqual(plan(state, input), made)
        state = JSON.parse(JSON.stringify(made.state))
        assert.deepEqual(state, made.state)
      }
    }),
    runs(100),
  )
})

test('the order of an answer makes no difference', () => {
  const answers = fc.array(fc.subarray(names(30), { minLength: 1 }), { minLength: 1, maxLength: 30 })
  fc.assert(
    fc.property(answers, fc.integer(), (rounds, seed) => {
      const next = random(seed)
      const [sorted, shuffled] = [agent(), agent()]
      for (const listed of rounds) {
        const twice = next() < 0.2 ? listed.slice(0, 1) : []
        const order = next() < 0.3 ? listed.toSorted() : sample(listed, listed.length, next)
        for (const node of listed) if (next() < 0.8) for (const mesh of [sorted, shuffled]) mesh.alive.add(node)
        const made = [sorted.round(listed.toSorted()), shuffled.round([...order, ...twice])] as const
        const [plain, other] = made.map(({ connect, disconnect, events, state }) => {
          const source = state.topologies.web?.sources.dns
          const told = events.map(({ type, node }) => `${type} ${node}`)
          return [connect, disconnect, told.toSorted(), source?.listed.toSorted(), source?.missing]
        })
        assert.deepEqual(other, plain)
      }
    }),
    runs(300),
  )
})

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    for (const each of Object.values(value)) deepFreeze(each)
    Object.freeze(value)
  }
  return value
}
