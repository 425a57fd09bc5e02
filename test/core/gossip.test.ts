import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { parseConfig } from '../../core/config.ts'
import {
  type Beat,
  CLOCK_TOLERANCE_MS,
  createRoster,
  encodeBeat,
  parseBeat,
  stampAfter,
} from '../../core/sources/gossip.ts'

const NOW = 1_700_000_000_000

describe('the options of gossip', () => {
  function parse(gossip: unknown) {
    const config = parseConfig({ topologies: { web: { sources: [{ gossip }] } } }, { file: 'f', env: {} })
    return config.topologies.web?.sources[0]?.options
  }

  test('have the defaults of libcluster where it has them', () => {
    assert.deepEqual(parse({}), {
      port: 45_892,
      bind: '0.0.0.0',
      ttl: 1,
      broadcast: false,
      heartbeat: 5_000,
      wire: 'rollcall',
    })
  })

  const mistakes: [string, unknown, RegExp][] = [
    ['an empty secret', { secret: '' }, /gossip\.secret: expected some text, got text that is not shown here/],
    ['a secret that is nothing', { secret: null }, /gossip\.secret: expected text, got nothing/],
    ['a group that is no address', { group: 'all' }, /gossip\.group: expected an IPv4 address, got "all"/],
    ['a group that is no multicast address', { group: '10.0.0.255' }, /gossip\.group: expected a multicast group/],
    [
      'a multicast group to broadcast to',
      { group: '233.252.1.32', broadcast: true },
      /gossip\.group: expected a broad/,
    ],
    ['a cluster that the wire cannot carry', { cluster: 'a', wire: 'libcluster' }, /gossip\.cluster: expected no clu/],
    ['a cluster of 65 characters', { cluster: 'a'.repeat(65) }, /gossip\.cluster: expected 1 to 64 printable/],
    ['a heartbeat of 1 ms', { heartbeat: '1ms' }, /gossip\.heartbeat: expected a duration of 100ms to 30s, got "1ms"/],
    ['a heartbeat of a minute', { heartbeat: '1m' }, /gossip\.heartbeat: expected a duration of 100ms to 30s/],
    ['a ttl of 256', { ttl: 256 }, /gossip\.ttl: expected at most 255/],
  ]
  for (const [what, gossip, message] of mistakes) {
    test(`refuse ${what}`, () => assert.throws(() => parse(gossip), { code: 'config', message }))
  }
})

describe('the body of a datagram', () => {
  const beat: Required<Beat> = { node: 'app@10.0.0.1', status: 'leaving', stamp: { at: NOW, sequence: 7 } }

  test('says what was written', () => {
    const body = '{"node":"app@10.0.0.1","cluster":"blue","status":"leaving","at":1700000000000,"sequence":7}'
    assert.equal(encodeBeat(beat, 'blue'), body)
    assert.deepEqual(parseBeat(body), { beat, cluster: 'blue' })
  })

  test('may say more in a later version', () => {
    assert.deepEqual(parseBeat(encodeBeat(beat, '').replace('{', '{"more":[1],')), { beat, cluster: '' })
  })

  const broken: Record<string, object> = {
    'without a node': { node: undefined },
    'with a node without a host': { node: 'app' },
    'with a node of 300 bytes': { node: `app@${'a'.repeat(300)}` },
    'with a name in Unicode': { node: 'app@hôst' },
    'with another status': { status: 'down' },
    'with a time that is text': { at: String(NOW) },
    'with a time before the epoch': { at: -1 },
    'with a time that is no whole number': { at: 1e300 },
    'without a sequence': { sequence: undefined },
  }
  for (const [what, change] of Object.entries(broken)) {
    test(`${what} is none`, () => {
      const body = { node: 'app@10.0.0.1', cluster: '', status: 'up', at: NOW, sequence: 0, ...change }
      assert.equal(parseBeat(JSON.stringify(body)), undefined)
    })
  }

  test('that is no JSON, or no object, is none', () => {
    for (const body of ['', '{', '[]', 'null', '7', '['.repeat(1_000)]) assert.equal(parseBeat(body), undefined)
  })
})

describe('stamps', () => {
  test('grow with the clock, within one ms, and while the clock is a little behind', () => {
    const first = stampAfter(undefined, NOW)
    const second = stampAfter(first, NOW)
    const third = stampAfter(second, NOW - 1_000)
    assert.deepEqual(
      [first, second, third].map(({ at, sequence }) => [at - NOW, sequence]),
      [
        [0, 0],
        [0, 1],
        [0, 2],
      ],
    )
    assert.deepEqual(stampAfter(third, NOW + 1), { at: NOW + 1, sequence: 0 })
  })

  test('follow a clock that was so far ahead that nobody believed it', () => {
    const wrong = stampAfter(undefined, NOW + CLOCK_TOLERANCE_MS + 1)
    assert.deepEqual(stampAfter(wrong, NOW), { at: NOW, sequence: 0 })
  })
})

describe('the roster', () => {
  const beat = (node: string, at: number, sequence = 0, status: Beat['status'] = 'up'): Beat => {
    return { node, status, stamp: { at, sequence } }
  }
  const names = (roster: ReturnType<typeof createRoster>, now: number) =>
    roster.members(now).map(({ node, status }) => (status === 'up' ? node : `${node} ${status}`))

  test('lists whom it heard, in order, and tells news from what it knew', () => {
    const roster = createRoster({ heardMs: 60_000 })
    assert.equal(roster.hear(beat('b@h', NOW), NOW), 'news')
    assert.equal(roster.hear(beat('a@h', NOW), NOW), 'news')
    assert.equal(roster.hear(beat('b@h', NOW + 1), NOW + 1), 'known')
    assert.deepEqual(names(roster, NOW + 1), ['b@h', 'a@h'])
  })

  test('takes a duplicate, or what came late, for nothing', () => {
    const roster = createRoster({ heardMs: 60_000 })
    roster.hear(beat('a@h', NOW, 1), NOW)
    assert.equal(roster.hear(beat('a@h', NOW, 1, 'leaving'), NOW), 'old')
    assert.equal(roster.hear(beat('a@h', NOW, 0, 'leaving'), NOW), 'old')
    assert.equal(roster.hear(beat('a@h', NOW - 1, 5, 'leaving'), NOW), 'old')
    assert.deepEqual(names(roster, NOW), ['a@h'])
    assert.equal(roster.hear(beat('a@h', NOW, 2, 'leaving'), NOW), 'news')
  })

  test('hears a node leave, and come back', () => {
    const roster = createRoster({ heardMs: 60_000 })
    roster.hear(beat('a@h', NOW), NOW)
    assert.equal(roster.hear(beat('a@h', NOW + 1, 0, 'leaving'), NOW), 'news')
    assert.deepEqual(names(roster, NOW), ['a@h leaving'])
    assert.equal(roster.hear(beat('a@h', NOW + 2), NOW), 'news')
    assert.deepEqual(names(roster, NOW), ['a@h'])
  })

  test('names nobody that was silent for too long, and takes its return for news', () => {
    const roster = createRoster({ heardMs: 60_000 })
    roster.hear(beat('a@h', NOW), NOW)
    assert.deepEqual(names(roster, NOW + 59_999), ['a@h'])
    assert.deepEqual(names(roster, NOW + 60_000), [])
    roster.sweep(NOW + 60_000)
    assert.equal(roster.hear(beat('a@h', NOW + 60_001), NOW + 60_001), 'news')
  })

  test('never believes the farewell of a node twice, as long as it could be played back', () => {
    const roster = createRoster({ heardMs: 60_000 })
    const at = NOW + CLOCK_TOLERANCE_MS
    roster.hear(beat('a@h', at, 0, 'leaving'), NOW)
    for (let now = NOW; now < NOW + 4 * CLOCK_TOLERANCE_MS; now += 10_000) {
      roster.sweep(now)
      assert.match(roster.hear(beat('a@h', at, 0, 'leaving'), now), /old|skewed/)
    }
  })

  test('ignores a node whose clock is more than the tolerance away, in either direction', () => {
    const roster = createRoster({ heardMs: 60_000 })
    assert.equal(roster.hear(beat('a@h', NOW + CLOCK_TOLERANCE_MS), NOW), 'news')
    assert.equal(roster.hear(beat('b@h', NOW - CLOCK_TOLERANCE_MS), NOW), 'news')
    assert.equal(roster.hear(beat('c@h', NOW + CLOCK_TOLERANCE_MS + 1), NOW), 'skewed')
    assert.equal(roster.hear(beat('d@h', NOW - CLOCK_TOLERANCE_MS - 1), NOW), 'skewed')
    assert.deepEqual(names(roster, NOW), ['a@h', 'b@h'])
  })

  test('takes a beat without a stamp each time, and forgets it when it is not listed any more', () => {
    const roster = createRoster({ heardMs: 60_000, limit: 1 })
    assert.equal(roster.hear({ node: 'a@h', status: 'up' }, NOW), 'news')
    assert.equal(roster.hear({ node: 'a@h', status: 'up' }, NOW + 1), 'known')
    roster.sweep(NOW + 60_001)
    assert.equal(roster.hear({ node: 'b@h', status: 'up' }, NOW + 60_001), 'news')
  })

  test('is full at its limit, keeps those it knows and has room again after their time', () => {
    const roster = createRoster({ heardMs: 60_000, limit: 2 })
    roster.hear(beat('a@h', NOW), NOW)
    roster.hear(beat('b@h', NOW), NOW)
    assert.equal(roster.hear(beat('c@h', NOW), NOW), 'full')
    assert.equal(roster.hear(beat('a@h', NOW + 1), NOW), 'known')
    const later = NOW + 2 * CLOCK_TOLERANCE_MS + 1
    roster.sweep(later)
    assert.equal(roster.hear(beat('c@h', later), later), 'news')
  })
})
