import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { plan } from '../../core/plan.ts'
import { defaultPolicy } from '../../core/policy.ts'
import { parseState } from '../../core/state.ts'
import { agent, names, observation } from './rounds.ts'

const reasonsOf = (entries: { node: string; reason: string }[]) =>
  Object.fromEntries(entries.map(({ node, reason }) => [node, reason]))

describe('connecting', () => {
  test('a listed node is dialled once, and not again while the dial is under way', () => {
    const mesh = agent()
    const first = mesh.decide({ dns: names(2) })
    assert.deepEqual(first.connect, [{ node: 'n2@h', attempt: 1, reason: 'new' }])
    mesh.now += 1_000
    const second = mesh.decide({ dns: names(2) })
    assert.deepEqual(second.connect, [])
    assert.deepEqual(second.hold, [{ node: 'n2@h', reason: 'dialling', until: mesh.now - 1_000 + 10_000 }])
  })

  test('a dial without a link by its timeout is a failed one: it waits, then is tried again', () => {
    const mesh = agent()
    mesh.decide({ dns: names(2) })
    mesh.now += defaultPolicy.dialTimeout
    const failed = mesh.decide({ dns: names(2) })
    assert.equal(failed.hold[0]?.reason, 'backoff')
    const until = failed.hold[0]?.until ?? 0
    assert.ok(until > mesh.now && until <= mesh.now + 250, `${until - mesh.now}`)
    assert.ok(failed.recheckAt <= until)
    mesh.now = until
    assert.deepEqual(mesh.decide({ dns: names(2) }).connect, [{ node: 'n2@h', attempt: 2, reason: 'retry' }])
  })

  test('a failed outcome ends a dial at once', () => {
    const mesh = agent()
    mesh.decide({ dns: names(2) })
    mesh.now += 5
    const made = mesh.decide({ dns: names(2) }, { outcomes: [{ node: 'n2@h', ok: false, code: 'not_registered' }] })
    assert.deepEqual(reasonsOf(made.hold), { 'n2@h': 'backoff' })
  })

  test('waits grow with each failed dial up to maxWait, and a link that comes up clears the wait', () => {
    const mesh = agent()
    const waits: number[] = []
    mesh.decide({ dns: names(2) })
    for (let attempt = 1; attempt <= 10; attempt++) {
      mesh.now += 1
      const made = mesh.decide({ dns: names(2) }, { outcomes: [{ node: 'n2@h', ok: false }] })
      const until = made.hold[0]?.until ?? 0
      waits.push(until - mesh.now)
      mesh.now = until
      assert.equal(mesh.decide({ dns: names(2) }).connect[0]?.attempt, attempt + 1)
    }
    assert.ok(waits.every((wait) => wait <= defaultPolicy.maxWait))
    assert.ok((waits[4] ?? 0) > 2 * (waits[1] ?? 0), waits.join())
    mesh.links.add('n2@h')
    mesh.now += 1
    mesh.decide({ dns: names(2) })
    mesh.links.clear()
    mesh.now += 60 * 60_000
    const lost = mesh.decide({ dns: names(2) })
    assert.equal(lost.hold[0]?.reason, 'backoff')
    assert.ok((lost.hold[0]?.until ?? 0) - mesh.now <= 250, 'an hour later the penalty is forgotten')
  })

  test('a lost link is dialled again with its reason', () => {
    const mesh = agent()
    mesh.form(names(3))
    mesh.links.delete('n2@h')
    mesh.now += 100
    mesh.decide({ dns: 'silent' })
    mesh.now += 250
    assert.deepEqual(mesh.decide({ dns: 'silent' }).connect, [{ node: 'n2@h', attempt: 1, reason: 'lost' }])
  })

  test('links lost all at once add no penalty: that was us', () => {
    const mesh = agent()
    mesh.form(names(5))
    mesh.links.clear()
    mesh.now += 1
    const made = mesh.decide({ dns: 'silent' })
    assert.equal(made.connect.length, 4)
    assert.ok(Object.values(made.state.peers).every(({ penalty }) => penalty === undefined))
  })

  test('at most dialsPerRound dials are under way, in an order that differs from node to node', () => {
    const orders = ['n1@h', 'n2@h'].map((self) => {
      const mesh = agent({ self, policy: { dialsPerRound: 5 } })
      const made = mesh.decide({ dns: names(40) })
      assert.equal(made.connect.length, 5)
      assert.equal(made.hold.filter(({ reason }) => reason === 'round_full').length, 34)
      mesh.now += 10
      assert.equal(mesh.decide({ dns: 'silent' }).connect.length, 0)
      return made.connect.map(({ node }) => node).join()
    })
    assert.notEqual(orders[0], orders[1])
  })

  test('the address a source gave comes with the dial', () => {
    const address = { host: '10.0.0.2', port: 4370 }
    const made = agent().decide({ dns: [{ node: 'n2@h', status: 'up', address }] })
    assert.deepEqual(made.connect[0]?.address, address)
  })

  test('self is never dialled', () => {
    const made = agent().decide({ dns: names(3) })
    assert.deepEqual(made.connect.map(({ node }) => node).toSorted(), ['n2@h', 'n3@h'])
  })
})

describe('removing', () => {
  test('a node that is left out goes after grace and misses, with its reason', () => {
    const mesh = agent()
    mesh.form(names(5))
    mesh.rounds(12, names(4))
    assert.deepEqual(mesh.cuts, [])
    assert.equal(mesh.plan.hold[0]?.reason, 'grace')
    const made = mesh.round(names(4))
    assert.deepEqual(made.disconnect, [{ node: 'n5@h', reason: 'absent' }])
    assert.ok(mesh.eventTypes().includes('member_absent'))
  })

  test('the grace is never below three intervals', () => {
    const mesh = agent({ policy: { grace: 1 } })
    mesh.form(names(5))
    mesh.rounds(3, names(4))
    assert.deepEqual(mesh.cuts, [])
    mesh.round(names(4))
    assert.deepEqual(mesh.cuts, ['n5@h'])
  })

  test('an answer that names it starts its misses again', () => {
    const mesh = agent()
    mesh.form(names(5))
    for (let index = 0; index < 20; index++) {
      mesh.rounds(10, names(4))
      mesh.round(names(5))
    }
    assert.deepEqual(mesh.cuts, [])
  })

  test('removals one after the other share the budget of confirm', () => {
    const mesh = agent()
    mesh.form(names(10))
    for (let left = 9; left >= 6; left--) mesh.rounds(14, names(left))
    assert.deepEqual(mesh.cuts, ['n10@h', 'n9@h', 'n8@h'], 'three of ten within five minutes, not four')
    assert.equal(mesh.plan.hold[0]?.reason, 'budget')
    mesh.rounds(61, names(6))
    assert.deepEqual(mesh.cuts.at(-1), 'n7@h')
  })

  test('a partial answer between complete ones is no miss', () => {
    const mesh = agent()
    mesh.form(names(5))
    mesh.round(names(4))
    for (let round = 0; round < 100; round++) mesh.round({ dns: { partial: names(4) } })
    mesh.rounds(11, names(4))
    assert.deepEqual(mesh.cuts, [])
    mesh.round(names(4))
    assert.deepEqual(mesh.cuts, ['n5@h'])
  })

  test('after a doubt absence counts from nothing', () => {
    const mesh = agent()
    mesh.form(names(10))
    mesh.rounds(10, names(9))
    mesh.round(names(7))
    mesh.round(names(9))
    assert.equal(mesh.plan.topologies.web?.sources.dns?.doubted, true)
    mesh.rounds(defaultPolicy.confirm / mesh.intervalMs, names(9))
    assert.equal(mesh.plan.topologies.web?.sources.dns?.doubted, undefined)
    mesh.rounds(11, names(9))
    assert.deepEqual(mesh.cuts, [])
    mesh.rounds(2, names(9))
    assert.deepEqual(mesh.cuts, ['n10@h'])
  })

  test('nodes that come back after their links were gone, or after a partial answer, raise no doubt', () => {
    const mesh = agent()
    mesh.form(names(10))
    mesh.round(names(8))
    mesh.alive.delete('n9@h')
    mesh.alive.delete('n10@h')
    mesh.round(names(8))
    mesh.alive.add('n9@h').add('n10@h')
    mesh.rounds(3, names(8))
    mesh.round(names(10))
    mesh.round({ dns: { partial: names(2) } })
    mesh.round(names(10))
    assert.equal(mesh.plan.topologies.web?.sources.dns?.doubted, undefined)
    assert.equal(mesh.links.size, 9)
  })

  test('answers are news again after the clock was set back', () => {
    const mesh = agent()
    mesh.form(names(5))
    mesh.round(names(4), -3_600_000)
    mesh.rounds(13, names(4))
    assert.deepEqual(mesh.cuts, ['n5@h'])
  })

  test('a removed node whose source is doubted before its link is gone is kept', () => {
    const mesh = agent()
    mesh.form(names(10))
    mesh.rounds(12, names(9))
    mesh.now += 5_000
    assert.equal(mesh.decide({ dns: names(9) }).disconnect.length, 1)
    mesh.now += 5_000
    mesh.decide({ dns: names(7) })
    mesh.now += 5_000
    assert.deepEqual(mesh.decide({ dns: names(9) }).disconnect, [])
  })

  test('a removed node is not dialled again by the agent that knows it, and is no business of ours if it comes back', () => {
    const mesh = agent()
    mesh.form(names(5))
    mesh.rounds(20, names(4))
    assert.deepEqual(mesh.cuts, ['n5@h'])
    mesh.links.add('n5@h')
    const dials = mesh.dials.length
    mesh.rounds(100, names(4))
    assert.deepEqual([mesh.cuts, mesh.dials.length], [['n5@h'], dials])
    assert.ok(mesh.links.has('n5@h'))
  })

  test('a cut that does not succeed is ordered again until the link is gone', () => {
    const mesh = agent()
    mesh.form(names(5))
    mesh.rounds(12, names(4))
    mesh.now += 5_000
    for (let index = 0; index < 3; index++) {
      const made = mesh.decide({ dns: names(4) })
      assert.deepEqual(made.disconnect, [{ node: 'n5@h', reason: 'absent' }])
      mesh.now += 5_000
    }
    assert.deepEqual(mesh.decide({ dns: names(5) }).disconnect, [], 'listed again before it went: it stays')
  })

  test('with disconnect: never nobody is cut, and the hold says why', () => {
    const mesh = agent({ policy: { disconnect: 'never' } })
    mesh.form(names(5))
    mesh.rounds(100, names(4))
    assert.deepEqual(mesh.cuts, [])
    assert.deepEqual(mesh.plan.hold, [{ node: 'n5@h', reason: 'policy' }])
  })

  test('an absent node without link is forgotten at its first failed dial', () => {
    const mesh = agent()
    mesh.form(names(5))
    mesh.alive.delete('n5@h')
    mesh.round(names(4))
    mesh.now += 300
    mesh.decide({ dns: names(4) })
    assert.ok('n5@h' in mesh.plan.state.peers)
    mesh.now += 300
    mesh.decide({ dns: names(4) }, { outcomes: [{ node: 'n5@h', ok: false }] })
    assert.ok(!JSON.stringify(mesh.plan.state).includes('n5@h'))
    assert.ok(mesh.eventTypes().includes('member_forgotten'))
  })

  test('a source taken out of the config takes what only it knew with it, and nobody is cut for that', () => {
    const mesh = agent()
    mesh.alive.add('n2@h').add('n3@h')
    for (let index = 0; index < 3; index++) mesh.round({ a: names(2), b: ['n3@h'] })
    assert.equal(mesh.links.size, 2)
    for (let index = 0; index < 100; index++) mesh.round({ a: names(2) })
    assert.deepEqual(mesh.cuts, [])
    assert.ok(!JSON.stringify(mesh.state).includes('n3@h'))
  })
})

describe('leaving', () => {
  test('a leaving node is not dialled, keeps its link for drain, then goes, outside the guard', () => {
    const mesh = agent()
    mesh.form(names(4))
    const leaving = names(4).map((node) => ({ node, status: node === 'n1@h' ? ('up' as const) : ('leaving' as const) }))
    mesh.round(leaving)
    assert.deepEqual(reasonsOf(mesh.plan.hold), { 'n2@h': 'leaving', 'n3@h': 'leaving', 'n4@h': 'leaving' })
    mesh.rounds(11, leaving)
    assert.deepEqual(mesh.cuts, [])
    mesh.round(leaving)
    assert.deepEqual(mesh.cuts, ['n2@h', 'n3@h', 'n4@h'])
    const dials = mesh.dials.length
    mesh.rounds(10, leaving)
    assert.equal(mesh.dials.length, dials)
  })

  test('leaving sticks when another source says up, and ends when the one that said it says up', () => {
    const mesh = agent()
    const left = [{ node: 'n2@h', status: 'leaving' as const }]
    mesh.round({ a: left, b: names(2) })
    mesh.round({ a: 'failed', b: names(2) })
    assert.deepEqual(mesh.dials, [])
    mesh.round({ a: names(2), b: names(2) })
    assert.deepEqual(mesh.dials, ['n2@h'])
  })

  test('a new id is a new node: its leaving and its penalty are gone', () => {
    const mesh = agent()
    mesh.round([{ node: 'n2@h', status: 'up', id: 'a' }])
    for (let index = 0; index < 10; index++) mesh.round([{ node: 'n2@h', status: 'up', id: 'a' }])
    assert.ok((mesh.state?.peers['n2@h']?.penalty ?? 0) > 1)
    const made = mesh.round([{ node: 'n2@h', status: 'up', id: 'b' }], 1)
    assert.deepEqual(made.connect, [{ node: 'n2@h', attempt: 1, reason: 'new' }])
  })

  test('a node told to leave dials nobody and leaves', () => {
    const made = agent().decide({ dns: names(3) }, { leaving: true })
    assert.deepEqual([made.leave, made.connect, made.disconnect], [true, [], []])
  })

  test('self listed as leaving dials nobody at once and leaves after drain', () => {
    const mesh = agent()
    const answer = [{ node: 'n1@h', status: 'leaving' as const }, ...names(3, 2)]
    assert.deepEqual([mesh.round(answer).connect, mesh.plan.leave], [[], false])
    mesh.rounds(12, answer)
    assert.equal(mesh.plan.leave, true)
    mesh.round(names(4))
    assert.equal(mesh.plan.leave, false)
  })

  test('self that every topology leaves out leaves when due, and stays where one lists it', () => {
    const mesh = agent()
    mesh.form(names(5))
    mesh.rounds(13, names(4, 2))
    assert.deepEqual([mesh.plan.leave, mesh.plan.disconnect], [true, []])
    mesh.round(names(5))
    assert.equal(mesh.plan.leave, false)
  })

  test('self that was never listed dials as usual and is told what is listed', () => {
    const mesh = agent({ self: 'app@wrong' })
    mesh.form(names(3))
    mesh.rounds(50, names(3))
    assert.equal(mesh.links.size, 3)
    assert.equal(mesh.plan.leave, false)
    const told = mesh.events.filter(({ type }) => type === 'self_not_listed')
    assert.equal(told.length, 1)
    assert.match(told[0]?.message ?? '', /n1@h, n2@h, n3@h.*app@wrong/)
  })
})

describe('several sources and topologies', () => {
  test('one source that still lists a node keeps it', () => {
    const mesh = agent()
    mesh.alive.add('n2@h').add('n3@h')
    for (let index = 0; index < 5; index++) mesh.round({ a: names(3), b: names(3) })
    for (let index = 0; index < 100; index++) mesh.round({ a: names(2), b: names(3) })
    assert.deepEqual(mesh.cuts, [])
    for (let index = 0; index < 20; index++) mesh.round({ a: names(2), b: names(2) })
    assert.deepEqual(mesh.cuts, ['n3@h'])
  })

  test('a node is due only when the source that left it out last has done so for long enough', () => {
    const mesh = agent()
    mesh.form(names(4))
    for (let index = 0; index < 3; index++) mesh.round({ a: names(4), b: names(4) })
    for (let index = 0; index < 30; index++) mesh.round({ a: names(3), b: names(4) })
    for (let index = 0; index < 12; index++) mesh.round({ a: names(3), b: names(3) })
    assert.deepEqual(mesh.cuts, [])
    mesh.round({ a: names(3), b: names(3) })
    assert.deepEqual(mesh.cuts, ['n4@h'])
  })

  test('a dead source of two keeps the other from removing, and an event says so once', () => {
    const mesh = agent()
    mesh.alive.add('n2@h').add('n3@h').add('n4@h')
    for (let index = 0; index < 5; index++) mesh.round({ a: names(4), b: names(4) })
    for (let index = 0; index < 200; index++) mesh.round({ a: names(3), b: 'failed' })
    assert.deepEqual(mesh.cuts, [])
    assert.deepEqual(mesh.plan.hold, [{ node: 'n4@h', reason: 'source_failed' }])
    const told = mesh.events.filter(({ type }) => type === 'source_blocks_removal')
    assert.equal(told.length, 1)
    assert.match(told[0]?.message ?? '', /^b fails/)
    for (let index = 0; index < 5; index++) mesh.round({ a: names(3) })
    assert.deepEqual(mesh.cuts, ['n4@h'])
  })

  test('two topologies that disagree cut nobody', () => {
    const self = 'n1@h'
    const policy = defaultPolicy
    let state: ReturnType<typeof plan>['state'] | undefined
    const links = ['n2@h', 'n3@h', 'n4@h']
    for (let now = 1_000; now < 4_000_000; now += 5_000) {
      const topology = (source: string, listed: string[]) => ({
        sources: [source],
        intervalMs: 5_000,
        policy,
        observations: [observation(source, now, listed)],
      })
      const early = now < 20_000
      const made = plan(state, {
        self,
        now,
        links,
        topologies: {
          blue: topology('a', early ? names(4) : names(3)),
          green: topology('b', early ? names(4) : ['n1@h', 'n2@h', 'n4@h']),
        },
      })
      assert.deepEqual(made.disconnect, [])
      state = made.state
    }
  })
})

describe('formed', () => {
  test('is true when every source has answered and minPeers have links, and stays while they hold', () => {
    const mesh = agent({ policy: { minPeers: 2 } })
    mesh.alive.add('n2@h').add('n3@h')
    mesh.round({ a: names(3), b: 'silent' })
    mesh.round({ a: names(3), b: 'silent' })
    assert.equal(mesh.plan.topologies.web?.formed, false, 'b has not answered')
    mesh.round({ a: names(3), b: 'failed' })
    assert.equal(mesh.plan.topologies.web?.formed, true, 'b failed while links stand')
    mesh.links.delete('n2@h')
    mesh.alive.delete('n2@h')
    mesh.round({ a: names(3), b: names(3) })
    assert.equal(mesh.plan.topologies.web?.formed, false)
  })

  test('a topology without sources is formed', () => {
    const made = agent().decide({})
    assert.deepEqual(made.topologies, { web: { formed: true, sources: {} } })
  })
})

describe('state', () => {
  test('of another node or version is discarded with an event, and nobody is cut', () => {
    const mesh = agent()
    mesh.form(names(3))
    const other = agent({ self: 'n2@h' })
    other.state = mesh.state
    other.links.add('n1@h').add('n3@h')
    const made = other.decide({ dns: names(3) })
    assert.deepEqual([made.events[0]?.type, made.disconnect], ['state_discarded', []])
    const next = plan({ ...made.state, version: 2 as 1 }, { self: 'n2@h', now: mesh.now, links: [], topologies: {} })
    assert.equal(next.events[0]?.type, 'state_discarded')
  })

  test('survives JSON, and rubbish is no state', () => {
    const mesh = agent()
    mesh.form(names(5))
    mesh.round([...names(3), { node: 'n4@h', status: 'leaving', id: 'x', address: { host: '::1', port: 1 } }])
    const copy = JSON.parse(JSON.stringify(mesh.state))
    assert.deepEqual(parseState(copy), mesh.state)
    for (const rubbish of [
      undefined,
      null,
      7,
      'x',
      [],
      {},
      { ...copy, peers: [] },
      { ...copy, topologies: { web: {} } },
    ]) {
      assert.equal(parseState(rubbish), undefined)
    }
  })

  test('may hold the names in any order, as earlier ones did', () => {
    const mesh = agent()
    mesh.form(names(12))
    const source = mesh.state?.topologies['web']?.sources['dns']
    source?.listed.reverse()
    mesh.round(names(11))
    const after = mesh.state?.topologies['web']?.sources['dns']
    assert.deepEqual(Object.keys(after?.missing ?? {}), ['n12@h'])
    assert.deepEqual(after?.listed.toSorted(), names(11).toSorted())
  })

  test('an observation counted once is no news, also when its clock was ahead', () => {
    const mesh = agent()
    mesh.form(names(5))
    const ahead = observation('dns', mesh.now + 3_600_000, names(4))
    for (let index = 0; index < 100; index++) {
      mesh.now += 5_000
      const made = plan(mesh.state, {
        self: 'n1@h',
        now: mesh.now,
        links: [...mesh.links],
        topologies: { web: { sources: ['dns'], intervalMs: 5_000, policy: mesh.policy, observations: [ahead] } },
      })
      mesh.state = made.state
      assert.deepEqual(made.disconnect, [])
    }
  })
})
