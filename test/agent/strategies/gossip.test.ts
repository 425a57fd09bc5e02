import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { EventEmitter, once } from 'node:events'
import { describe, test, type TestContext } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { deflateSync } from 'node:zlib'
import { findInterfaces } from '../../../agent/strategies/gossip-channel.ts'
import { createLibclusterWire, heartbeatOf } from '../../../agent/strategies/gossip-libcluster.ts'
import { createRollcallWire, type Heard } from '../../../agent/strategies/gossip-wire.ts'
import { createGossipSource, type GossipSeams } from '../../../agent/strategies/gossip.ts'
import { openSource } from '../../../agent/strategies/index.ts'
import type { Observation } from '../../../core/member.ts'
import { type Beat, CLOCK_TOLERANCE_MS, gossipOptionsSchema } from '../../../core/sources/gossip.ts'
import type { SourceContext } from '../../../functions/resolvers/source.ts'
import { CONTRACT_NOW, sourceContract, type World } from '../../contract/source-contract.ts'
import { createFakeLog } from '../fakes.ts'
import { openVoice } from './gossip-voice.ts'

const SECRET = 'correct horse battery staple'
const interfaceOnly = { interface: '127.0.0.1' }
const fast = { ...interfaceOnly, heartbeat: 100 }
const TIMEOUT = { timeout: 20_000 }

function beatOf(
  node: string,
  { at = Date.now(), sequence = 0, status = 'up' }: { at?: number; sequence?: number; status?: Beat['status'] } = {},
): Required<Beat> {
  return { node, status, stamp: { at, sequence } }
}

/** What the given node says on rollcall's wire. */
function words(
  node: string,
  { secret, cluster, ...beat }: { secret?: string; cluster?: string } & Parameters<typeof beatOf>[1] = {},
) {
  return createRollcallWire({ secret, cluster }).encode(beatOf(node, beat)) ?? assert.fail('expected words')
}

interface Listening {
  options: Record<string, unknown>
  self?: string
  silent?: boolean
  seams?: GossipSeams
  now?: () => number
}

/** A source that is being watched until the test is over. */
function listen(t: TestContext, { options, self, silent, seams, now = Date.now }: Listening) {
  const ended = new AbortController()
  t.after(() => ended.abort())
  const source = createGossipSource(seams)
  const log = createFakeLog()
  const context: SourceContext = {
    source: 'gossip',
    signal: ended.signal,
    now,
    log,
    fetch,
    ...(self && { self }),
    ...(silent && { silent }),
  }
  const parsed = gossipOptionsSchema.parse(options)
  const given: Observation[] = []
  const more = new EventEmitter()
  const over = (async () => {
    for await (const observation of source.watch?.(parsed, context) ?? []) {
      assert.notEqual(observation.outcome, 'complete')
      given.push(observation)
      more.emit('given')
    }
  })()
  return {
    log,
    /** The next one that is wanted, of those not looked at yet. */
    async until(isWanted: (observation: Observation) => boolean): Promise<Observation> {
      for (;;) {
        const observation = given.shift()
        if (observation === undefined) await once(more, 'given')
        else if (isWanted(observation)) return observation
      }
    },
    /** The next one that is yet to come. */
    async next(): Promise<Observation> {
      given.length = 0
      return await this.until(() => true)
    },
    leave: async () => await source.leave?.(parsed, context),
    async end() {
      ended.abort()
      await over
    },
  }
}

const names = ({ members = [] }: Observation) =>
  members.map(({ node, status }) => (status === 'up' ? node : `${node} ${status}`)).sort()
const naming =
  (...nodes: string[]) =>
  (observation: Observation) =>
    names(observation).join() === nodes.join()

/** Says the datagrams as soon as the source under test has said its first word. */
async function answering(t: TestContext, datagrams: readonly Uint8Array[], rest: Partial<World> = {}): Promise<World> {
  const voice = await openVoice(t)
  const asked = voice.hear()
  const answer = async () => {
    await asked
    for (const datagram of datagrams) await voice.say(datagram)
  }
  void answer()
  return {
    options: { ...interfaceOnly, port: voice.port },
    // What it says itself makes it no member: the worlds' own node is another one here.
    context: { self: 'listener@10.0.0.9' },
    nodes: ['app@10.0.0.1', 'app@10.0.0.2'],
    asked,
    ...rest,
  }
}

const at = CONTRACT_NOW
const good = [words('app@10.0.0.1', { at }), words('app@10.0.0.2', { at }), words('app@10.0.0.1', { at: at + 1 })]

sourceContract({
  name: 'gossip',
  kind: 'gossip',
  load: () => createGossipSource(),
  ways: ['watch'],
  listens: true,
  good: { port: 45_893, group: '239.1.1.1', interface: 'eth0', secret: SECRET, cluster: 'blue', heartbeat: '1s' },
  bad: {
    port: 0,
    group: '10.0.0.1',
    interface: '',
    bind: 'lo',
    ttl: 300,
    secret: '',
    cluster: '',
    heartbeat: 0,
    wire: 'serf',
  },
  lists: (t) => answering(t, good),
  flawed: {
    'a datagram of another program': (t) => answering(t, [Buffer.from('M-SEARCH * HTTP/1.1'), ...good]),
    'a name that is none': (t) => answering(t, [words('app', { at }), ...good]),
    'a datagram of 60,000 bytes': (t) => answering(t, [Buffer.alloc(60_000), ...good]),
  },
  failing: {
    'an interface that is not there': () => ({ options: { interface: 'none0' }, code: 'gossip_interface' }),
    'an address that is not there': () => ({ options: { ...interfaceOnly, bind: '203.0.113.1' }, code: 'gossip_bind' }),
    'a port that is taken': async (t) => {
      const holder = createSocket('udp4').bind(0)
      t.after(() => holder.close())
      await once(holder, 'listening')
      return { options: { ...interfaceOnly, port: holder.address().port }, code: 'gossip_bind' }
    },
    'a network on which it does not hear even itself': async (t) => {
      const { port } = await openVoice(t)
      // A socket that is bound to an address hears no multicast on Linux.
      return { options: { ...fast, port, bind: '127.0.0.1' }, code: 'gossip_deaf' }
    },
  },
  hangs: (t) => answering(t, []),
})

describe('gossip', () => {
  for (const options of [
    {},
    { secret: SECRET },
    { secret: SECRET, cluster: 'blue' },
    { wire: 'libcluster' },
    { wire: 'libcluster', secret: SECRET },
  ]) {
    test(`finds others by ${JSON.stringify(options)}`, TIMEOUT, async (t) => {
      const { port } = await openVoice(t)
      const given = { ...fast, port, ...options }
      const nodes = ['a@10.0.0.1', 'b@10.0.0.2', 'c@10.0.0.3']
      const sources = nodes.map((self) => listen(t, { options: given, self }))
      await Promise.all(
        sources.map((source, index) => source.until(naming(...nodes.filter((_, other) => other !== index)))),
      )
      assert.deepEqual(
        sources.flatMap(({ log }) => log.lines),
        [],
      )
    })
  }

  test('hears with broadcast what others broadcast', TIMEOUT, async (t) => {
    const { port } = await openVoice(t)
    const options = { ...fast, port, broadcast: true }
    const [a, b] = [listen(t, { options, self: 'a@h' }), listen(t, { options, self: 'b@h' })]
    await Promise.all([a.until(naming('b@h')), b.until(naming('a@h'))])
  })

  test(
    'says at once that it is there, again with each heartbeat, and nothing when its watch ends',
    TIMEOUT,
    async (t) => {
      const voice = await openVoice(t)
      const source = listen(t, { options: { ...fast, port: voice.port }, self: 'a@h' })
      await source.until(() => voice.heard.length >= 3)
      await source.end()
      const beats = voice.heard.map((datagram) => createRollcallWire({}).decode(datagram))
      for (const heard of beats) assert.equal('beat' in heard && heard.beat.status, 'up')
    },
  )

  test('names nobody while it is alone, but not before a heartbeat is over', TIMEOUT, async (t) => {
    const voice = await openVoice(t)
    const source = listen(t, { options: { ...fast, port: voice.port }, self: 'a@h' })
    const { outcome, members } = await source.until(() => true)
    assert.deepEqual([outcome, members], ['partial', []])
    await voice.hear(2)
  })

  test('only listens when the ask is silent, or nobody asks', TIMEOUT, async (t) => {
    const voice = await openVoice(t)
    const options = { ...fast, port: voice.port }
    const listeners = [listen(t, { options, self: 'a@h', silent: true }), listen(t, { options })]
    const found = Promise.all(listeners.map((listener) => listener.until(naming('b@h'))))
    const state = { isFound: false }
    const noted = found.then(() => (state.isFound = true))
    // They say nothing when they are ready, so it is said until they have heard it.
    while (!state.isFound) {
      await voice.say(words('b@h'))
      await turn()
    }
    await noted
    for (const datagram of voice.heard) assert.match(datagram.toString(), /b@h/)
  })

  test('a look for rollcall look gives those heard in its time', TIMEOUT, async (t) => {
    const voice = await openVoice(t)
    const options = gossipOptionsSchema.parse({ ...fast, port: voice.port }) as Record<string, unknown>
    listen(t, { options: { ...fast, port: voice.port }, self: 'b@h' })
      .until(() => false)
      .catch(() => undefined)
    const config = { id: 'lan', kind: 'gossip', options }
    const source = await openSource(config, {
      topology: 'web',
      intervalMs: 5_000,
      self: 'a@h',
      log: createFakeLog(),
      listenMs: 400,
    })
    assert.deepEqual(names(await source.look(new AbortController().signal)), ['b@h'])
    assert.ok(voice.heard.every((datagram) => datagram.includes('b@h')))
  })

  test('a look of an agent speaks, and lasts a heartbeat', TIMEOUT, async (t) => {
    const voice = await openVoice(t)
    const options = gossipOptionsSchema.parse({ ...fast, port: voice.port }) as Record<string, unknown>
    const config = { id: 'lan', kind: 'gossip', options }
    const source = await openSource(config, { topology: 'web', intervalMs: 0, self: 'a@h', log: createFakeLog() })
    const { outcome } = await source.look(new AbortController().signal)
    assert.equal(outcome, 'partial')
    assert.ok(voice.heard.some((datagram) => datagram.includes('a@h')))
  })

  test('a node that leaves says so to all, and keeps saying so', TIMEOUT, async (t) => {
    const voice = await openVoice(t)
    const options = { ...fast, port: voice.port, secret: SECRET }
    const [a, b] = [listen(t, { options, self: 'a@h' }), listen(t, { options, self: 'b@h' })]
    await Promise.all([a.until(naming('b@h')), b.until(naming('a@h'))])
    await a.leave()
    await b.until(naming('a@h leaving'))
    const before = voice.heard.length
    await a.until(() => voice.heard.length > before + 4)
    assert.deepEqual(names(await b.next()), ['a@h leaving'])
  })

  test('a node that leaves without having been watched says so too', TIMEOUT, async (t) => {
    const voice = await openVoice(t)
    const source = createGossipSource()
    const options = gossipOptionsSchema.parse({ ...fast, port: voice.port })
    const { signal } = new AbortController()
    const log = createFakeLog()
    await source.leave?.(options, { source: 'gossip', self: 'a@h', signal, now: Date.now, log, fetch })
    await voice.hear(3)
    for (const datagram of voice.heard) assert.match(datagram.toString(), /"status":"leaving"/)
  })

  test('a node that leaves says nothing more in libcluster, which has no word for it', TIMEOUT, async (t) => {
    const voice = await openVoice(t)
    const source = listen(t, { options: { ...fast, port: voice.port, wire: 'libcluster' }, self: 'a@h' })
    await source.until(() => voice.heard.length > 0)
    await source.leave()
    await source.next()
    const before = voice.heard.length
    for (let count = 0; count < 5; count++) assert.equal((await source.next()).outcome, 'partial')
    assert.equal(voice.heard.length, before)
  })

  const strangers: [string, Record<string, unknown>, Uint8Array, RegExp | undefined][] = [
    ['one without a secret', { secret: SECRET }, words('b@h'), /without a secret/],
    ['one with a secret', {}, words('b@h', { secret: SECRET }), /with a secret/],
    ['one with another secret', { secret: SECRET }, words('b@h', { secret: 'x' }), /another secret/],
    ['one of another cluster', { cluster: 'a' }, words('b@h', { cluster: 'b' }), undefined],
    ['one of libcluster', {}, heartbeatOf('b@h'), /other wire/],
    [
      'one of libcluster without a secret',
      { wire: 'libcluster', secret: SECRET },
      heartbeatOf('b@h'),
      /without a secret/,
    ],
    ['one of rollcall in a mesh of libcluster', { wire: 'libcluster' }, words('b@h'), /other wire/],
    ['one of a later version', {}, Buffer.from('rollcall\x02\x00{}'), /another version/],
    ['one whose clock is 6 minutes ahead', {}, words('b@h', { at: Date.now() + CLOCK_TOLERANCE_MS + 60_000 }), /clock/],
  ]
  for (const [who, options, datagram, line] of strangers) {
    test(`ignores ${who}, and ${line === undefined ? 'does not mind' : 'says so once'}`, TIMEOUT, async (t) => {
      const voice = await openVoice(t)
      const source = listen(t, { options: { ...fast, port: voice.port, ...options }, self: 'a@h' })
      await voice.hear()
      await voice.say(datagram)
      await voice.say(datagram)
      const { members } = await source.until(() => voice.heard.length >= 5)
      assert.deepEqual(members, [])
      assert.equal(source.log.lines.length, line === undefined ? 0 : 1)
      if (line !== undefined) assert.match(source.log.lines.join(), line)
    })
  }

  test('plain and secret nodes ignore each other, and each says so once', TIMEOUT, async (t) => {
    const { port } = await openVoice(t)
    const plain = listen(t, { options: { ...fast, port }, self: 'a@h' })
    const sealed = listen(t, { options: { ...fast, port, secret: SECRET }, self: 'b@h' })
    let [beats, members] = [0, 0]
    const counting = (observation: Observation) => {
      members += observation.members?.length ?? 0
      return ++beats >= 8
    }
    await Promise.all([plain.until(counting), sealed.until(counting)])
    assert.equal(members, 0)
    assert.deepEqual([plain.log.lines.length, sealed.log.lines.length], [1, 1])
  })

  test('a datagram that is played back changes nothing', TIMEOUT, async (t) => {
    const voice = await openVoice(t)
    const source = listen(t, { options: { ...fast, port: voice.port, secret: SECRET }, self: 'a@h' })
    await voice.hear()
    const now = Date.now()
    const farewell = words('b@h', { secret: SECRET, at: now, status: 'leaving' })
    await voice.say(farewell)
    await source.until(naming('b@h leaving'))
    await voice.say(words('b@h', { secret: SECRET, at: now + 1 }))
    await source.until(naming('b@h'))
    await voice.say(farewell)
    const before = voice.heard.length
    assert.deepEqual(names(await source.until(() => voice.heard.length > before + 1)), ['b@h'])
  })

  test(
    'the network that comes back is joined within a heartbeat, and its failure is told meanwhile',
    TIMEOUT,
    async (t) => {
      const voice = await openVoice(t)
      const loopback = {
        address: '127.0.0.1',
        netmask: '255.0.0.0',
        family: 'IPv4',
        mac: '',
        internal: true,
        cidr: null,
      } as const
      let isUp = true
      const interfaces = () => (isUp ? { lo: [loopback] } : {})
      const options = { port: voice.port, heartbeat: 100 }
      const source = listen(t, { options, self: 'a@h', seams: { interfaces } })
      await source.until(({ outcome }) => outcome === 'partial')
      isUp = false
      const failed = await source.until(({ outcome }) => outcome === 'failed')
      assert.equal(failed.outcome === 'failed' && failed.error.code, 'gossip_interface')
      isUp = true
      const mended = await source.until(() => true)
      assert.equal(mended.outcome, 'partial')
      await voice.say(words('b@h'))
      await source.until(naming('b@h'))
    },
  )

  test('an interface that comes up later is joined too', TIMEOUT, async (t) => {
    const voice = await openVoice(t)
    const address = (address: string) =>
      ({ address, netmask: '255.0.0.0', family: 'IPv4', mac: '', internal: true, cidr: null }) as const
    let up: Record<string, ReturnType<typeof address>[]> = {
      tun0: [address('203.0.113.7')],
      lo: [address('127.0.0.1')],
    }
    delete up.lo
    const source = listen(t, {
      options: { port: voice.port, heartbeat: 100 },
      self: 'a@h',
      seams: { interfaces: () => up },
    })
    const failed = await source.until(({ outcome }) => outcome === 'failed')
    assert.equal(failed.outcome === 'failed' && failed.error.code, 'gossip_interface')
    // One that does no multicast does not stand in the way of the other.
    up = { ...up, lo: [address('127.0.0.1')] }
    await source.until(({ outcome }) => outcome === 'partial')
  })

  test('a flood is read up to a bound for each heartbeat, and said once', TIMEOUT, async (t) => {
    const voice = await openVoice(t)
    const source = listen(t, { options: { ...interfaceOnly, heartbeat: 30_000, port: voice.port }, self: 'a@h' })
    source.until(() => false).catch(() => undefined)
    await voice.hear()
    const word = words('b@h', { cluster: 'x' })
    while (!source.log.lines.some((line) => line.includes('floods'))) {
      for (let count = 0; count < 32; count++) await voice.say(word)
      await turn()
    }
    assert.equal(source.log.lines.length, 1)
  })
})

describe('the datagrams', () => {
  test('of libcluster are written and read as OTP 25 and 26 have them', () => {
    const otp25 = '6865617274626561743a3a8374000000016400046e6f646564000f6d79617070403132372e302e302e31'
    const otp26 = '6865617274626561743a3a83740000000177046e6f6465770e6f746865724031302e302e302e32'
    assert.equal(heartbeatOf('myapp@127.0.0.1', 'latin1').toString('hex'), otp25)
    assert.equal(heartbeatOf('other@10.0.0.2').toString('hex'), otp26)
    const { decode } = createLibclusterWire({})
    assert.deepEqual(decode(Buffer.from(otp25, 'hex')), { beat: { node: 'myapp@127.0.0.1', status: 'up' } })
    assert.deepEqual(decode(Buffer.from(otp26, 'hex')), { beat: { node: 'other@10.0.0.2', status: 'up' } })
  })

  test('of libcluster with a secret are read as it writes them', () => {
    const sealed =
      '000102030405060708090a0b0c0d0e0f0293fcf646d248542d82eea283216c7341d5b9834207a5dde4a78add66a5de87f7343f79bcdc4b18b720e05a611ff2cd'
    const { decode } = createLibclusterWire({ secret: 'somepassword' })
    assert.deepEqual(decode(Buffer.from(sealed, 'hex')), { beat: { node: 'other@10.0.0.2', status: 'up' } })
  })

  test('of libcluster may carry atoms with long lengths and further keys, but no other node than an atom', () => {
    const { decode } = createLibclusterWire({})
    const map = (hex: string) => decode(Buffer.concat([Buffer.from('heartbeat::'), Buffer.from(hex, 'hex')]))
    const node = '7600046e6f6465' // ATOM_UTF8_EXT
    const small = '73046e6f6465' // SMALL_ATOM_EXT
    assert.deepEqual(map(`837400000001${node}760003614068`), { beat: { node: 'a@h', status: 'up' } })
    assert.deepEqual(map(`837400000001${small}7303614068`), { beat: { node: 'a@h', status: 'up' } })
    assert.deepEqual(map(`837400000002770161610177046e6f64657703614068`), { beat: { node: 'a@h', status: 'up' } })
    for (const hex of [
      `837400000001${node}6d00000003614068`, // a binary
      `837400000001${node}6b0003614068`, // a string
      `837400000001${node}770161`, // an atom that is no name
      '837400000000', // nothing
      '83770161', // no map
      '83', // no term
      `837400000001${node}7703614068ff`, // more than a term
    ]) {
      assert.deepEqual(map(hex), { refused: 'malformed' }, hex)
    }
  })

  test('of libcluster that are compressed are not inflated', () => {
    const { decode } = createLibclusterWire({})
    const term = Buffer.from('740000000177046e6f64657703614068', 'hex')
    const plain = Buffer.concat([Buffer.from('heartbeat::'), Buffer.of(131), term])
    const size = Buffer.of(0, 0, 0, term.length)
    const compressed = Buffer.concat([Buffer.from('heartbeat::'), Buffer.of(131, 80), size, deflateSync(term)])
    assert.deepEqual(decode(plain), { beat: { node: 'a@h', status: 'up' } })
    assert.deepEqual(decode(compressed), { refused: 'malformed' })
  })

  test('of rollcall differ each time, and one changed bit of a sealed one is noticed', () => {
    const wire = createRollcallWire({ secret: SECRET })
    const beat = beatOf('a@h')
    const [one, other] = [wire.encode(beat), wire.encode(beat)]
    assert.ok(one && other)
    assert.notDeepEqual(one, other)
    assert.deepEqual(wire.decode(one), { beat })
    for (let bit = 0; bit < 8 * one.length; bit++) {
      const changed = Buffer.from(one)
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      assert.ok('refused' in wire.decode(changed), `bit ${bit}`)
    }
  })

  test('of rollcall show neither name nor cluster when sealed', () => {
    const sealed = Buffer.from(words('app@10.0.0.1', { secret: SECRET, cluster: 'blue' }))
    assert.ok(!sealed.includes('app@') && !sealed.includes('blue'))
  })

  const wires = {
    'rollcall, plain': createRollcallWire({}),
    'rollcall with a secret': createRollcallWire({ secret: SECRET }),
    'libcluster, plain': createLibclusterWire({}),
    'libcluster with a secret': createLibclusterWire({ secret: SECRET }),
  }
  for (const [what, wire] of Object.entries(wires)) {
    test(`that are malformed never throw out of the parser: ${what}, 25,000 of them`, TIMEOUT, () => {
      const chance = createChance(42)
      const seeds = Object.values(wires).map(({ encode }) => Buffer.from(encode(beatOf('app@10.0.0.1')) ?? []))
      const counts: Record<string, number> = {}
      for (let count = 0; count < 25_000; count++) {
        const heard: Heard = wire.decode(mutate(seeds[chance(seeds.length)] ?? Buffer.alloc(0), chance))
        const kind = 'beat' in heard ? 'beat' : heard.refused
        counts[kind] = (counts[kind] ?? 0) + 1
      }
      assert.ok(Object.keys(counts).length >= 3, JSON.stringify(counts))
    })
  }
})

/** Numbers below a bound, the same ones for the same seed (mulberry32). */
function createChance(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}

/** A few bytes changed, or cut, repeated, or put in. */
function mutate(seed: Buffer, chance: (below: number) => number): Buffer {
  const bytes = Buffer.from(seed)
  for (let left = chance(4); left > 0; left--) bytes[chance(bytes.length)] = chance(256)
  const [from, to] = [chance(bytes.length + 1), chance(bytes.length + 1)]
  switch (chance(4)) {
    case 0:
      return bytes.subarray(0, to)
    case 1:
      return Buffer.concat([bytes.subarray(0, to), bytes.subarray(from)])
    case 2:
      return Buffer.concat([bytes.subarray(0, to), Buffer.alloc(chance(64), chance(256)), bytes.subarray(to)])
    default:
      return bytes
  }
}

describe('the interfaces', () => {
  const v4 = (address: string, netmask = '255.255.255.0', internal = false) =>
    ({ address, netmask, family: 'IPv4', mac: '', internal, cidr: null }) as const
  const v6 = {
    address: 'fe80::1',
    netmask: 'ffff::',
    family: 'IPv6',
    mac: '',
    internal: false,
    cidr: null,
    scopeid: 1,
  } as const
  const all = {
    lo: [v4('127.0.0.1', '255.0.0.0', true)],
    eth0: [v6, v4('10.0.0.5'), v4('10.0.9.5')],
    eth1: [v4('10.1.0.5', '255.255.252.0')],
    sit0: [v6],
  }
  const cases: [string, string | undefined, string[]][] = [
    ['all but the loopback, by default', undefined, ['eth0 10.0.0.5 10.0.0.255', 'eth1 10.1.0.5 10.1.3.255']],
    ['the one of a name', 'eth1', ['eth1 10.1.0.5 10.1.3.255']],
    ['the one of an address, a second one too', '10.0.9.5', ['eth0 10.0.9.5 10.0.9.255']],
    ['the loopback where it is wanted', '127.0.0.1', ['lo 127.0.0.1 127.255.255.255']],
  ]
  for (const [what, wanted, expected] of cases) {
    test(`that are used: ${what}`, () => {
      const found = findInterfaces(all, wanted).map(({ name, address, broadcast }) => `${name} ${address} ${broadcast}`)
      assert.deepEqual(found, expected)
    })
  }

  test('that are used: the loopback where there is no other', () => {
    assert.deepEqual(
      findInterfaces({ lo: all.lo }).map(({ name }) => name),
      ['lo'],
    )
  })

  test('one that is wanted but not there is named, with those that are', () => {
    const message =
      /expected an interface, wlan0 with an IPv4 address, got lo \(127\.0\.0\.1\), eth0 \(10\.0\.0\.5\), eth1/
    assert.throws(() => findInterfaces(all, 'wlan0'), { code: 'gossip_interface', message })
  })
})
