import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { defaultPolicy } from '../../core/policy.ts'
import { agent, names, observation, random, sample } from './rounds.ts'

// How discovery fails, one test a row of the catalogue of failures that concerns the decision. The others are the sources'.
describe('how discovery fails', () => {
  test('F1 an error or a timeout keeps everybody and reports the source once', () => {
    const mesh = agent()
    mesh.form(names(5))
    for (let round = 0; round < 1_000; round++) mesh.round({ dns: 'failed' })
    assert.deepEqual([mesh.cuts, mesh.links.size], [[], 4])
    assert.equal(mesh.eventTypes().filter((type) => type === 'source_failed').length, 1)
    assert.deepEqual(mesh.plan.topologies.web?.sources.dns?.error, { code: 'timeout', message: 'no answer' })
    mesh.round(names(5))
    assert.equal(mesh.eventTypes().at(-1), 'source_recovered')
  })

  test('F2 a successful but empty answer is doubted and cuts nobody', () => {
    const mesh = agent()
    mesh.form(names(5))
    mesh.rounds(500, [])
    assert.deepEqual(mesh.cuts, [])
    assert.deepEqual(new Set(mesh.plan.hold.map(({ reason }) => reason)), new Set(['doubted']))
    assert.equal(mesh.plan.topologies.web?.sources.dns?.doubted, true)
  })

  test('F3 an empty answer that is true converges within confirm: the dead are forgotten', () => {
    const mesh = agent()
    mesh.form(names(5))
    mesh.alive.clear()
    mesh.rounds(1 + defaultPolicy.confirm / mesh.intervalMs, [])
    assert.deepEqual(mesh.state?.peers, {})
    const dials = mesh.dials.length
    mesh.rounds(100, [])
    assert.equal(mesh.dials.length, dials)
  })

  test('F4 half the fleet really removed and alive goes after confirm without a human, dead at once', () => {
    const mesh = agent()
    mesh.form(names(10))
    mesh.rounds(61, names(5))
    assert.deepEqual(mesh.cuts.toSorted(), names(5, 6).toSorted())
    const other = agent()
    other.form(names(10))
    for (const node of names(5, 6)) other.alive.delete(node)
    other.rounds(4, names(5))
    assert.ok(!JSON.stringify(other.state).includes('n6@h'))
    assert.ok(!other.eventTypes().includes('guard_raised'), 'the dead are no matter for the guard')
  })

  test('F5 a part of the answer adds and never removes', () => {
    const mesh = agent()
    mesh.form(names(5))
    mesh.alive.add('n6@h')
    for (let round = 0; round < 500; round++) mesh.round({ dns: { partial: ['n1@h', 'n6@h'] } })
    assert.deepEqual([mesh.cuts, mesh.links.size], [[], 5])
  })

  test('F6 one malformed record is skipped and reported, the rest kept', () => {
    const mesh = agent()
    const made = mesh.decide({ dns: ['n2@h', 'no at', '', 'a@b@c', 'x@h\n', 'n3@h'] })
    assert.deepEqual(made.connect.map(({ node }) => node).toSorted(), ['n2@h', 'n3@h'])
    const skipped = made.events.filter(({ type }) => type === 'members_skipped')
    assert.equal(skipped.length, 1)
    assert.match(skipped[0]?.message ?? '', /^4 skipped: expected node names, got "no at"/)
  })

  test('F7 a filter that matches everything is cut at maxMembers and taken as partial', () => {
    const mesh = agent({ policy: { maxMembers: 50 } })
    mesh.form(names(5))
    mesh.rounds(100, [...names(400, 1_000)])
    assert.deepEqual(mesh.cuts, [])
    assert.equal(mesh.plan.topologies.web?.sources.dns?.outcome, 'partial')
    assert.ok(Object.keys(mesh.state?.peers ?? {}).length <= 55)
  })

  test('F8 two nodes that start together find each other: both dial, no one waits for the other', () => {
    const started = names(2).map((self) =>
      agent({ self })
        .decide({ dns: names(2) })
        .connect.map(({ node }) => node),
    )
    assert.deepEqual(started, [['n2@h'], ['n1@h']])
  })

  test('F9 replacements started on the wrong side of a partition are not formed below minPeers', () => {
    const mesh = agent({ self: 'n9@h', policy: { minPeers: 3 } })
    mesh.alive.add('n8@h')
    mesh.rounds(50, names(9))
    assert.equal(mesh.plan.topologies.web?.formed, false)
  })

  test('F10 a partition of any length heals within one interval, maxWait and a dial under way at its end', () => {
    for (const rounds of [1, 10, 100, 2_000]) {
      const mesh = agent()
      mesh.form(names(10))
      const cutOff = names(5, 6)
      for (const node of cutOff) mesh.alive.delete(node)
      mesh.rounds(rounds, names(10))
      for (const node of cutOff) mesh.alive.add(node)
      // In this world a dial that began before the partition healed never succeeds.
      const heals = mesh.now + mesh.intervalMs + defaultPolicy.maxWait + defaultPolicy.dialTimeout
      while (mesh.now < heals) mesh.round(names(10), 1_000)
      assert.equal(mesh.links.size, 9, `after ${rounds} rounds`)
      assert.deepEqual(mesh.cuts, [])
    }
  })

  test('F11 a source that leaves out a live node for less than the grace is no death proof', () => {
    const mesh = agent()
    mesh.form(names(5))
    for (let deploy = 0; deploy < 50; deploy++) {
      mesh.rounds(12, names(4))
      mesh.rounds(2, names(5))
    }
    assert.deepEqual([mesh.cuts, mesh.links.size], [[], 4])
  })

  test('F12 a watch that is silently dead cuts nobody, and lost links are still made again', () => {
    const mesh = agent()
    mesh.form(names(5))
    for (let round = 0; round < 500; round++) mesh.round({ dns: 'silent' })
    mesh.links.delete('n3@h')
    mesh.round({ dns: 'silent' })
    mesh.round({ dns: 'silent' })
    assert.deepEqual([mesh.cuts, mesh.links.size], [[], 4])
  })

  test('F13 a thousand peers lost at once are dialled dialsPerRound at a time, each node in its own order', () => {
    const mesh = agent()
    mesh.form(names(1_000))
    mesh.links.clear()
    mesh.now += 1_000
    assert.equal(mesh.decide({ dns: names(1_000) }).connect.length, defaultPolicy.dialsPerRound)
  })

  test('F13 links that are lost at once again and again are dialled ever less often', () => {
    const mesh = agent()
    mesh.form(names(5))
    let dials = 0
    for (let round = 0; round < 1_400; round++) {
      mesh.links.clear()
      mesh.now += 20
      const { connect } = mesh.decide({ dns: 'silent' })
      for (const { node } of connect) mesh.links.add(node)
      dials += connect.length
      mesh.now += 20
      mesh.decide({ dns: 'silent' })
    }
    assert.ok(dials >= 4 && dials <= 4 * 16, `${dials} dials of four peers in 56 s`)
  })

  test('F14 an answer older than one that was counted is no news', () => {
    const mesh = agent()
    mesh.form(names(5))
    const before = mesh.state
    const old = observation('dns', mesh.now - 60_000, names(2))
    const made = mesh.decide(
      { dns: 'silent' },
      {
        topologies: { web: { sources: ['dns'], intervalMs: 5_000, policy: mesh.policy, observations: [old] } },
      },
    )
    assert.deepEqual(made.state.topologies.web?.sources, before?.topologies.web?.sources)
  })

  test('F15 a zombie entry is dialled at most every maxWait, and forgotten once it is left out', () => {
    const mesh = agent()
    mesh.form(names(5))
    mesh.alive.delete('n5@h')
    mesh.dials.length = 0
    mesh.rounds(720, names(5))
    assert.ok(mesh.dials.length <= 3_600_000 / defaultPolicy.dialTimeout, `${mesh.dials.length} dials in an hour`)
    mesh.rounds(5, names(4))
    assert.ok(!JSON.stringify(mesh.state).includes('n5@h'))
  })

  test('F16 a link that flaps is dialled ever less often, and nobody is cut', () => {
    const mesh = agent()
    mesh.form(names(5))
    const waits: number[] = []
    for (let flap = 0; flap < 20; flap++) {
      mesh.links.delete('n2@h')
      mesh.now += 1_000
      const lost = mesh.decide({ dns: names(5) })
      const until = lost.hold[0]?.until ?? mesh.now
      waits.push(until - mesh.now)
      mesh.now = until
      mesh.decide({ dns: names(5) })
      mesh.links.add('n2@h')
      mesh.now += 1_000
      mesh.decide({ dns: names(5) })
    }
    assert.ok((waits.at(-1) ?? 0) > 10 * (waits[0] ?? 0), waits.join())
    assert.deepEqual(mesh.cuts, [])
  })

  test('F17 an observer that was paused doubts itself: time nobody observed counts for nothing', () => {
    const mesh = agent()
    mesh.form(names(5))
    mesh.round(names(4))
    mesh.round(names(4), 3_600_000)
    mesh.round(names(4), 3_600_000)
    mesh.round(names(4), 3_600_000)
    assert.deepEqual(mesh.cuts, [])
  })

  test('F18 a name twice in an answer is one node, and self in it is no peer', () => {
    const made = agent().decide({ dns: ['n1@h', 'n2@h', 'n2@h', 'n1@h', 'n2@h'] })
    assert.deepEqual(
      made.connect.map(({ node }) => node),
      ['n2@h'],
    )
    assert.equal(made.topologies.web?.sources.dns?.members, 2)
    const both = agent().decide({
      dns: [
        { node: 'n2@h', status: 'leaving', id: 'old' },
        { node: 'n2@h', status: 'up', id: 'new' },
      ],
    })
    assert.equal(both.connect.length, 1, 'the successor under the same name is up')
  })

  test('F19 an explicit leave beats the protection', () => {
    const mesh = agent()
    mesh.form(names(5))
    const answer = names(5).map((node) => ({ node, status: node === 'n1@h' ? ('up' as const) : ('leaving' as const) }))
    mesh.rounds(13, answer)
    assert.equal(mesh.cuts.length, 4)
    assert.ok(!mesh.eventTypes().includes('guard_raised'))
  })

  test('F20 a sleeping laptop and a clock that jumps remove nobody', () => {
    for (const jump of [-86_400_000, -60_000, 60_000, 86_400_000]) {
      const mesh = agent()
      mesh.form(names(5))
      mesh.round(names(4))
      mesh.round(names(4), jump)
      mesh.round(names(4))
      mesh.rounds(5, names(5))
      assert.deepEqual([mesh.cuts, mesh.links.size], [[], 4], `jump ${jump}`)
    }
  })

  test('F21 throttling is a failure like any other', () => {
    const mesh = agent()
    mesh.form(names(5))
    mesh.now += 5_000
    const failed = {
      source: 'dns',
      at: mesh.now,
      outcome: 'failed' as const,
      error: { code: 'throttled', message: 'slow down', retryAfterMs: 30_000 },
    }
    const made = mesh.decide(
      { dns: 'silent' },
      {
        topologies: { web: { sources: ['dns'], intervalMs: 5_000, policy: mesh.policy, observations: [failed] } },
      },
    )
    assert.deepEqual([made.disconnect, made.topologies.web?.sources.dns?.outcome], [[], 'failed'])
  })

  test('F22 many nodes that start at once dial in different orders', () => {
    const first = names(20).map((self) => agent({ self }).decide({ dns: names(200) }).connect[0]?.node)
    assert.ok(new Set(first).size > 12, first.join())
  })

  test('F23 an address that another node took over is a new node by its id', () => {
    const mesh = agent()
    const listed = (id: string) => [{ node: 'n2@h', status: 'up' as const, id }]
    mesh.alive.add('n2@h')
    mesh.rounds(3, listed('a'))
    mesh.round([{ node: 'n2@h', status: 'leaving', id: 'a' }])
    assert.equal(mesh.plan.hold[0]?.reason, 'leaving')
    mesh.rounds(30, listed('b'))
    assert.deepEqual([mesh.cuts, mesh.plan.hold], [[], []])
  })

  test('F24 while protecting it always says so: event, report and holds', () => {
    const mesh = agent()
    mesh.form(names(10))
    mesh.rounds(2, names(6))
    const { guard } = mesh.plan.topologies.web ?? {}
    assert.deepEqual([guard?.absent, guard?.members], [4, 10])
    assert.equal(mesh.eventTypes().filter((type) => type === 'guard_raised').length, 1)
    assert.equal(mesh.plan.hold.filter(({ reason }) => reason === 'budget').length, 4)
    mesh.round(names(10))
    assert.equal(mesh.eventTypes().filter((type) => type === 'guard_released').length, 1)
  })

  test('a sampling source is told from a whole one by what it brings back', () => {
    const mesh = agent()
    const next = random(3)
    mesh.form(names(10))
    for (let round = 0; round < 20; round++) mesh.round(sample(names(10), 8, next))
    assert.equal(mesh.plan.topologies.web?.sources.dns?.doubted, true)
    mesh.rounds(1 + defaultPolicy.confirm / mesh.intervalMs, names(10))
    assert.equal(mesh.plan.topologies.web?.sources.dns?.doubted, undefined)
    assert.ok(mesh.eventTypes().includes('source_trusted'))
  })
})
