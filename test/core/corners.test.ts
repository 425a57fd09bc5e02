import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Observation } from '../../core/member.ts'
import { decayedPenalty, dialWait, raisedPenalty } from '../../core/penalty.ts'
import { type Plan, type PlanInput, plan } from '../../core/plan.ts'
import { defaultPolicy } from '../../core/policy.ts'
import type { State } from '../../core/state.ts'
import { agent, members, names, observation } from './rounds.ts'

// What each rule says where two of them meet, or at their edges: a fault of each was once seen by no other test.
const SELF = 'n1@h'
const LEAVING = { node: 'n2@h', status: 'leaving' } as const
const HOUR_MS = 3_600_000

/** One agent in several topologies, a source of the same name each; what it is told comes in each plan anew. */
function topologiesOf(listed: (now: number) => Record<string, Observation | readonly string[]>) {
  let state: State | undefined
  return (now: number, extra: Partial<PlanInput> = {}): Plan => {
    const topologies = Object.entries(listed(now)).map(([name, answer]) => {
      const heard = 'outcome' in answer ? answer : observation(name, now, answer)
      return [name, { sources: [name], intervalMs: 5_000, policy: defaultPolicy, observations: [heard] }]
    })
    const links = names(3, 2)
    const made = plan(state, { self: SELF, now, links, topologies: Object.fromEntries(topologies), ...extra })
    state = made.state
    return made
  }
}

describe('time', () => {
  test('a clock that is set back gives no leaving node a longer drain', () => {
    const mesh = agent()
    mesh.form(names(4))
    const answer = [SELF, LEAVING, 'n3@h', 'n4@h']
    mesh.rounds(6, answer)
    mesh.round(answer, -HOUR_MS)
    mesh.rounds(7, answer)
    assert.deepEqual(mesh.cuts, ['n2@h'])
  })

  test('a clock that is set back takes back no absence', () => {
    const mesh = agent()
    mesh.form(names(4))
    mesh.rounds(6, names(3))
    mesh.round(names(3), -HOUR_MS)
    mesh.rounds(7, names(3))
    assert.deepEqual(mesh.cuts, ['n4@h'])
  })

  test('where the interval is never, a minute of each gap between two answers counts', () => {
    const mesh = agent({ intervalMs: 0 })
    mesh.form(names(4))
    const round = () => mesh.round(names(3), HOUR_MS)
    for (let miss = 1; miss <= 3; miss++) round()
    assert.deepEqual(mesh.cuts, [], 'two minutes of grace, which is three there')
    round()
    assert.deepEqual(mesh.cuts, ['n4@h'])
  })

  test('a drain that ends is due then, and looked for after an interval at the latest', () => {
    const mesh = agent()
    mesh.form(names(4))
    mesh.round([SELF, LEAVING, 'n3@h', 'n4@h'])
    assert.deepEqual(mesh.plan.hold, [{ node: 'n2@h', reason: 'leaving', until: mesh.now + defaultPolicy.drain }])
    assert.equal(mesh.plan.recheckAt, mesh.now + mesh.intervalMs)
  })

  test('observations that came out of order are taken in that of their times', () => {
    const now = 1_700_000_000_000
    const observations = [observation('s', now, { partial: ['n3@h'] }), observation('s', now - 1, names(2))]
    const web = { sources: ['s'], intervalMs: 5_000, policy: defaultPolicy, observations }
    const { connect } = plan(undefined, { self: SELF, now, links: [], topologies: { web } })
    assert.deepEqual(connect.map(({ node }) => node).sort(), ['n2@h', 'n3@h'])
  })
})

describe('self', () => {
  test('a node that leaves takes nobody else out', () => {
    const mesh = agent()
    mesh.form(names(4))
    const answer = [SELF, LEAVING, 'n3@h', 'n4@h']
    mesh.rounds(12, answer)
    assert.deepEqual(mesh.cuts, [])
    mesh.now += mesh.intervalMs
    assert.deepEqual(mesh.decide({ dns: answer }, { leaving: true }).disconnect, [])
    assert.deepEqual(mesh.decide({ dns: 'silent' }).disconnect, [{ node: 'n2@h', reason: 'leaving' }])
  })

  test('left out of one of its topologies it stays for the other', () => {
    const others = names(3, 2)
    const next = topologiesOf((now) => ({ blue: now < 20_000 ? names(4) : others, green: names(4) }))
    for (let now = 1_000; now < HOUR_MS; now += 5_000) assert.equal(next(now).leave, false, `${now}`)
  })

  test('it is no link of its own: nothing of it is cut or held', () => {
    const mesh = agent()
    mesh.form(names(4))
    mesh.rounds(5, names(3, 2))
    assert.deepEqual([mesh.plan.disconnect, mesh.plan.hold, mesh.plan.leave], [[], [], false])
  })
})

describe('answers', () => {
  test('a stale answer says nothing of who was left out before it', () => {
    const mesh = agent()
    mesh.form(names(4))
    mesh.rounds(10, names(3))
    mesh.now += mesh.intervalMs
    const error = { code: 'stale', message: 'an old answer' }
    const stale: Observation = { source: 'dns', at: mesh.now, outcome: 'failed', members: members(names(4)), error }
    const web = { sources: ['dns'], intervalMs: mesh.intervalMs, policy: mesh.policy, observations: [stale] }
    mesh.decide({}, { topologies: { web } })
    mesh.rounds(3, names(3))
    assert.deepEqual(mesh.cuts, ['n4@h'], '13 answers left it out, though a failure came between them')
  })

  test('an answer without ids takes no id back, whatever else it says', () => {
    const mesh = agent()
    const identified = names(3).map((node) => ({ node, status: 'up' as const, id: `of ${node}` }))
    mesh.round(identified)
    mesh.round(names(3))
    mesh.round([SELF, LEAVING, { node: 'n3@h', status: 'up', address: { host: 'n3.internal', port: 9_000 } }])
    mesh.round(identified)
    assert.ok(!mesh.eventTypes().includes('member_renewed'))
  })
})

test('a new node under an old name is dialled by its name, where its source says no more: not where its predecessor was', () => {
  const mesh = agent()
  const address = { host: 'n2.internal', port: 9_000 }
  mesh.round([SELF, { node: 'n2@h', status: 'up', id: 'one', address }])
  mesh.now += mesh.intervalMs
  assert.deepEqual(mesh.decide({ dns: [SELF, { node: 'n2@h', status: 'up', id: 'two' }] }).connect, [
    { node: 'n2@h', attempt: 1, reason: 'new' },
  ])
})

describe('doubt', () => {
  const without = (...nodes: string[]) => names(10).filter((node) => !nodes.includes(node))
  const isDoubted = (mesh: ReturnType<typeof agent>) => mesh.plan.topologies.web?.sources.dns?.doubted === true

  /** A mesh of ten whose source has left out and brought back these, one after the other. */
  function broughtBack(nodes: readonly string[]) {
    const mesh = agent()
    mesh.form(names(10))
    for (const node of nodes) {
      mesh.round(without(node))
      mesh.round(names(10))
    }
    return mesh
  }

  test('each further node that is brought back within it prolongs it', () => {
    const mesh = broughtBack(['n2@h', 'n3@h'])
    mesh.rounds(50, names(10))
    mesh.round(without('n4@h'))
    mesh.round(names(10))
    mesh.rounds(50, names(10))
    assert.equal(isDoubted(mesh), true, '250 s after the last of them')
    mesh.rounds(10, names(10))
    assert.equal(isDoubted(mesh), false)
  })

  test('is raised by an answer that lists this node alone, however often it is given', () => {
    const mesh = agent()
    mesh.form(names(4))
    mesh.rounds(100, [SELF])
    assert.deepEqual([mesh.cuts, isDoubted(mesh)], [[], true])
  })

  test('two nodes that are brought back an hour apart raise none', () => {
    const mesh = broughtBack(['n2@h'])
    mesh.rounds(720, names(10))
    mesh.round(without('n3@h'))
    mesh.round(names(10))
    assert.equal(isDoubted(mesh), false)
  })
})

describe('the budget', () => {
  test('counts this node, whether a source lists it or not', () => {
    const mesh = agent()
    mesh.form(names(9, 2))
    mesh.rounds(13, names(6, 2))
    assert.deepEqual(mesh.cuts.toSorted(), ['n10@h', 'n8@h', 'n9@h'], 'three of ten')
  })

  test('does not count those who are leaving', () => {
    const mesh = agent({ policy: { drain: HOUR_MS } })
    mesh.form(names(10))
    const staying = names(6).map((node) => ({ node, status: 'up' as const }))
    const leaving = names(4, 7).map((node) => ({ node, status: 'leaving' as const }))
    mesh.round([...staying, ...leaving])
    mesh.rounds(20, [...staying.slice(0, 4), ...leaving])
    assert.deepEqual([mesh.cuts, mesh.plan.topologies.web?.guard?.members], [[], 6])
  })

  test('that is met again by a partial answer lets nobody go for that answer', () => {
    const mesh = agent()
    mesh.form(names(10))
    mesh.rounds(20, names(5))
    mesh.round({ dns: { partial: names(8) } })
    assert.deepEqual(mesh.cuts, [])
    assert.deepEqual(mesh.plan.hold.map(({ node, reason }) => `${node} ${reason}`).sort(), [
      'n10@h doubted',
      'n9@h doubted',
    ])
  })
})

describe('absence', () => {
  test('of as many answers as misses says is enough, where they took the grace', () => {
    const mesh = agent({ policy: { misses: 10, grace: 15_000 } })
    mesh.form(names(4))
    mesh.rounds(9, names(3))
    assert.deepEqual([mesh.cuts, mesh.plan.hold], [[], [{ node: 'n4@h', reason: 'misses' }]])
    mesh.round(names(3))
    assert.deepEqual(mesh.cuts, ['n4@h'])
  })

  test('is judged by those sources alone that once listed the node', () => {
    const mesh = agent()
    for (const node of names(3, 2)) mesh.alive.add(node)
    for (let round = 1; round <= 3; round++) mesh.round({ a: names(4), b: names(3) })
    for (let round = 1; round <= 13; round++) mesh.round({ a: names(3), b: names(3) })
    assert.deepEqual(mesh.cuts, ['n4@h'])
  })

  test('begins anew when one source has listed a removed node again, though its link stood all the while', () => {
    const mesh = agent()
    mesh.form(names(4))
    mesh.round({ dns: names(4), b: names(4) })
    const tell = (dns: string[]) => {
      mesh.now += mesh.intervalMs
      return mesh.decide({ dns, b: names(3) }).disconnect.map(({ node }) => node)
    }
    for (let round = 1; round <= 12; round++) assert.deepEqual(tell(names(3)), [])
    assert.deepEqual(tell(names(3)), ['n4@h'], 'removed; its link is slow to go')
    assert.deepEqual(tell(names(4)), [])
    assert.deepEqual(tell(names(3)), [])
  })
})

describe('forgetting', () => {
  const forgotten = (mesh: ReturnType<typeof agent>) =>
    mesh.events.filter(({ type }) => type === 'member_forgotten').length

  test('takes confirm where the one source answers without the dead node and the other is down', () => {
    const mesh = agent()
    // Dials whose outcome nobody tells, and which take as long as they may: absent and dead is not seen by them.
    const tell = (b: string[]) => {
      mesh.now += mesh.intervalMs
      mesh.decide({ a: forgotten(mesh) === 0 && b.length === 4 ? names(4) : 'failed', b })
    }
    tell(names(4))
    for (let round = 1; round < 60; round++) tell(names(3))
    assert.equal(forgotten(mesh), 0)
    tell(names(3))
    assert.equal(forgotten(mesh), 1)
  })

  test('leaves nothing of the id and the address of a node', () => {
    const mesh = agent()
    const details = { id: 'an id', address: { host: 'n2.internal', port: 9_000 } }
    mesh.round([SELF, { node: 'n2@h', status: 'up', ...details }, 'n3@h'])
    mesh.rounds(80, [SELF, 'n3@h'])
    assert.equal(forgotten(mesh), 1)
    assert.ok(!JSON.stringify(mesh.state).includes('n2'), JSON.stringify(mesh.state))
  })

  test('is once and for all where the source is down: nobody is dialled for what it said an hour ago', () => {
    const mesh = agent()
    mesh.round(names(3))
    mesh.rounds(720, { dns: 'failed' })
    assert.equal(forgotten(mesh), 2)
    mesh.dials = []
    mesh.rounds(20, { dns: 'failed' })
    assert.deepEqual([mesh.dials, forgotten(mesh)], [[], 2])
  })
})

test('who leaves one topology is dialled for another', () => {
  const leaving = (now: number): Observation => {
    return { source: 'blue', at: now, outcome: 'complete', members: [...members([SELF, 'n3@h']), LEAVING] }
  }
  const next = topologiesOf((now) => ({ blue: leaving(now), green: names(2) }))
  assert.deepEqual(
    next(1_000, { links: [] })
      .connect.map(({ node }) => node)
      .sort(),
    ['n2@h', 'n3@h'],
  )
})

test('nodes wait for different times before they dial one peer again, each at least half of what the penalty says', () => {
  const waits = names(20).map((self) => dialWait(3, 10_000, { self, peer: 'p@h', attempt: 4 }))
  assert.equal(new Set(waits).size, 20)
  assert.ok(
    waits.every((wait) => wait >= 875 && wait <= 1_750),
    waits.join(),
  )
  assert.equal(new Set(names(20).map((peer) => dialWait(3, 10_000, { self: SELF, peer, attempt: 4 }))).size, 20)
})

test('a failing source is told to keep a node when the other has left it out for the grace, and not before', () => {
  const mesh = agent()
  mesh.form(names(4))
  mesh.round({ dns: names(4), b: names(4) })
  const rounds = (count: number) => {
    for (let round = 1; round <= count; round++) mesh.round({ dns: names(3), b: 'failed' })
    return mesh.eventTypes().filter((type) => type === 'source_blocks_removal').length
  }
  assert.equal(rounds(12), 0)
  assert.equal(rounds(10), 1)
})

test('a topology and a source may be called as what every object of JavaScript has', () => {
  const mesh = agent()
  const observations = [observation('toString', mesh.now, names(2))]
  const web = { sources: ['toString'], intervalMs: 5_000, policy: mesh.policy, observations }
  const made = mesh.decide({}, { topologies: { constructor: web } })
  assert.deepEqual(
    made.connect.map(({ node }) => node),
    ['n2@h'],
  )
  assert.equal(made.state.topologies['constructor']?.clock, 0)
})

test('however long a peer was dead, three half-lives after that it waits for less than a second', () => {
  let penalty = 0
  for (let dial = 1; dial <= 1_000; dial++) {
    penalty = raisedPenalty(decayedPenalty({ penalty, penaltyAt: 0 }, 5_000, 60_000))
  }
  const later = raisedPenalty(decayedPenalty({ penalty, penaltyAt: 0 }, 180_000, 60_000))
  for (const peer of names(50)) assert.ok(dialWait(later, 10_000, { self: SELF, peer, attempt: 1_000 }) < 1_000)
})

test('a topology whose source failed from the beginning is not formed while nobody is linked', () => {
  const mesh = agent()
  mesh.rounds(3, { dns: 'failed' })
  assert.equal(mesh.plan.topologies.web?.formed, false)
})

for (const [kind, answer] of [
  ['partial', { partial: names(3, 2) }],
  ['doubted', []],
] as const) {
  test(`a ${kind} answer without this node is no sign of a wrong name`, () => {
    const mesh = agent()
    mesh.rounds(3, { dns: answer })
    assert.ok(!mesh.eventTypes().includes('self_not_listed'))
  })
}
