import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type Answer, decode, encode, type Packet } from 'dns-packet'
import { RollcallError } from '../../core/error.ts'
import { up } from '../../core/member.ts'
import {
  createAddressBook,
  type DnsQuestion,
  dnsOptionsSchema,
  isDnsName,
  membersOf,
  nameUnder,
  readAnswer,
  reverseName,
} from '../../core/sources/dns.ts'

const AA = 0x0400
const TC = 0x0200
const RA = 0x0080
const SERVER = 'udp://10.0.0.53:53'
const WEB: DnsQuestion = { name: 'web.test', type: 'A' }

const a = (name: string, data: string): Answer => ({ type: 'A', name, data })
const cname = (name: string, data: string): Answer => ({ type: 'CNAME', name, data })
const srv = (name: string, target: string, port = 4369): Answer => ({ type: 'SRV', name, data: { target, port } })
const soa: Answer = { type: 'SOA', name: 'test', data: { mname: 'ns.test', rname: 'admin.test' } }
const ns: Answer = { type: 'NS', name: 'sub.test', data: 'ns.sub.test' }

/** What a server says on the wire, as the codec gives it back. */
function message(question: DnsQuestion, { flags = AA, ...rest }: Packet = {}) {
  return decode(encode({ type: 'response', id: 7, flags, questions: [question], ...rest }))
}

function read(question: DnsQuestion, packet: Packet = {}) {
  const { hosts, flaws, alias } = readAnswer(question, message(question, packet), SERVER)
  return alias === undefined ? { hosts, flaws } : { hosts, flaws, alias }
}

function codeOf(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    if (error instanceof RollcallError) return error.code
    throw error
  }
  throw new Error('expected an error')
}

describe('an answer', () => {
  const name = 'web.test'
  const cases: [string, DnsQuestion, Packet, object][] = [
    [
      'gives the addresses of its name',
      WEB,
      { answers: [a(name, '10.0.0.1'), a(name, '10.0.0.2')] },
      { hosts: ['10.0.0.1', '10.0.0.2'], flaws: [] },
    ],
    [
      'is read whatever the letter case of the name',
      WEB,
      { answers: [a('WEB.Test', '10.0.0.1')] },
      { hosts: ['10.0.0.1'], flaws: [] },
    ],
    ['does not speak for another name', WEB, { answers: [a('evil.test', '10.6.6.6')] }, { hosts: [], flaws: [] }],
    [
      'does not speak for another type',
      WEB,
      { answers: [{ type: 'AAAA', name, data: 'fd00::1' }] },
      { hosts: [], flaws: [] },
    ],
    [
      'does not speak for another class',
      WEB,
      { answers: [{ ...a(name, '10.0.0.1'), class: 'CH' } as Answer] },
      { hosts: [], flaws: [] },
    ],
    [
      'follows an alias within it',
      WEB,
      { answers: [cname(name, 'b.test'), cname('b.test', 'c.test'), a('c.test', '10.0.0.1')] },
      { hosts: ['10.0.0.1'], flaws: [] },
    ],
    [
      'follows an alias that stands after its target',
      WEB,
      { answers: [a('b.test', '10.0.0.1'), cname(name, 'b.test')] },
      { hosts: ['10.0.0.1'], flaws: [] },
    ],
    [
      'names the alias that it leaves open',
      WEB,
      { answers: [cname(name, 'b.test')] },
      { hosts: [], flaws: [], alias: 'b.test' },
    ],
    ['says nobody with NXDOMAIN', WEB, { flags: AA | 3, authorities: [soa] }, { hosts: [], flaws: [] }],
    [
      'says nobody with NXDOMAIN behind an alias',
      WEB,
      { flags: AA | 3, answers: [cname(name, 'gone.test')] },
      { hosts: [], flaws: [] },
    ],
    [
      'says nobody with no data and the word of the zone',
      WEB,
      { flags: 0, authorities: [soa] },
      { hosts: [], flaws: [] },
    ],
    ['says nobody with no data from a resolver', WEB, { flags: RA }, { hosts: [], flaws: [] }],
    [
      'says nobody with no data, its SOA and its name servers',
      WEB,
      { flags: RA, authorities: [soa, ns] },
      { hosts: [], flaws: [] },
    ],
    [
      'that is truncated has a flaw',
      WEB,
      { flags: AA | TC, answers: [a(name, '10.0.0.1')] },
      { hosts: ['10.0.0.1'], flaws: ['[dns] the answer for A web.test is truncated'] },
    ],
    [
      'that is truncated to nothing has a flaw and is no referral',
      WEB,
      { flags: TC },
      { hosts: [], flaws: ['[dns] the answer for A web.test is truncated'] },
    ],
    [
      'gives SRV targets and leaves the port',
      { name, type: 'SRV' },
      { answers: [srv(name, 'n1.test'), srv(name, 'n2.test', 9)] },
      { hosts: ['n1.test', 'n2.test'], flaws: [] },
    ],
    [
      'with the root as its SRV target says that there is no service',
      { name, type: 'SRV' },
      { answers: [srv(name, '.')] },
      { hosts: [], flaws: [] },
    ],
    [
      'gives PTR names',
      { name: '1.0.0.10.in-addr.arpa', type: 'PTR' },
      { answers: [{ type: 'PTR', name: '1.0.0.10.in-addr.arpa', data: 'n1.test' }] },
      { hosts: ['n1.test'], flaws: [] },
    ],
  ]
  for (const [behaviour, question, packet, expected] of cases) {
    test(behaviour, () => assert.deepEqual(read(question, packet), expected))
  }

  test('skips a malformed record, says so and keeps the rest', () => {
    const records = [a('web.test', '10.0.0.1'), a('web.test', '10.undefined.undefined.undefined')]
    const packet = { ...message(WEB), answers: records.map((record) => ({ ...record, class: 'IN' })) }
    const { hosts, flaws } = readAnswer(WEB, packet, SERVER)
    assert.deepEqual({ hosts, flaws }, { hosts: ['10.0.0.1'], flaws: ['[dns] 1 malformed A of web.test'] })
  })
})

describe('no answer', () => {
  const opt = (extendedRcode: number): Answer => ({
    type: 'OPT',
    name: '.',
    udpPayloadSize: 1232,
    extendedRcode,
    ednsVersion: 0,
    flags: 0,
    flag_do: false,
    options: [],
  })
  const aliases = Array.from({ length: 17 }, (_, index) => cname(`n${index}.test`, `n${index + 1}.test`))
  const cases: [string, Packet, string][] = [
    ['is SERVFAIL', { flags: 2 }, 'dns_servfail'],
    ['is REFUSED', { flags: 5 }, 'dns_refused'],
    ['is FORMERR', { flags: 1 }, 'dns_formerr'],
    ['is NOTIMP', { flags: 4 }, 'dns_notimp'],
    ['is SERVFAIL, whatever records come with it', { flags: 2, answers: [a('web.test', '10.0.0.1')] }, 'dns_servfail'],
    ['is a code that only EDNS can carry (BADVERS)', { additionals: [opt(1)] }, 'dns_rcode_16'],
    ['is a referral to other servers', { flags: 0, authorities: [ns] }, 'dns_lame'],
    ['is a referral from a server that speaks for the parent', { flags: AA, authorities: [ns] }, 'dns_lame'],
    ['is nothing from a server that neither serves nor looks', { flags: 0 }, 'dns_lame'],
    ['is an alias of itself', { answers: [cname('web.test', 'web.test')] }, 'dns_alias_loop'],
    ['is a loop of aliases', { answers: [cname('web.test', 'b.test'), cname('b.test', 'web.test')] }, 'dns_alias_loop'],
    ['is a chain of 18 aliases', { answers: [cname('web.test', 'n0.test'), ...aliases] }, 'dns_alias_loop'],
    ['is an alias that cannot be asked for', { answers: [cname('web.test', 'sp ace.test')] }, 'dns_malformed'],
    ['is about another name', { questions: [{ name: 'other.test', type: 'A' }] }, 'dns_malformed'],
    ['is about another type', { questions: [{ name: 'web.test', type: 'AAAA' }] }, 'dns_malformed'],
    ['is about two questions', { questions: [WEB, WEB] }, 'dns_malformed'],
    ['is about nothing', { questions: [] }, 'dns_malformed'],
    ['is the query itself', { type: 'query' }, 'dns_malformed'],
  ]
  for (const [behaviour, packet, code] of cases) {
    test(behaviour, () =>
      assert.equal(
        codeOf(() => read(WEB, packet)),
        code,
      ),
    )
  }

  test('names the question, the server and what came', () => {
    assert.throws(
      () => read(WEB, { flags: 2 }),
      /\[dns\] expected A web\.test from udp:\/\/10\.0\.0\.53:53, got SERVFAIL/,
    )
  })
})

describe('the address book of an additional section', () => {
  const { additionals = [] } = message(WEB, {
    additionals: [
      a('N1.test', '10.0.0.1'),
      a('n1.test', '10.0.0.2'),
      { type: 'AAAA', name: 'n1.test', data: 'fd00::1' },
    ],
  })
  const book = createAddressBook(additionals)

  test('gives the addresses of a name by family', () => {
    assert.deepEqual(book('n1.test', 'A'), ['10.0.0.1', '10.0.0.2'])
    assert.deepEqual(book('n1.TEST', 'AAAA'), ['fd00::1'])
  })

  test('is silent about a name it does not hold', () => {
    assert.deepEqual(book('n2.test', 'A'), [])
  })
})

describe('members', () => {
  test('carry the hosts, an IPv6 address in its one form', () => {
    const { members, flaws } = membersOf('app', { hosts: ['10.0.0.1', 'fd00:0:0::1'], flaws: ['cut'] })
    assert.deepEqual(members, [up('app@10.0.0.1'), up('app@fd00::1')])
    assert.deepEqual(flaws, ['cut'])
  })

  test('leave out what cannot be a node name, and say so', () => {
    const hosts = ['n1.test', 'n@2.test', 'n 3.test', `${'x'.repeat(250)}.test`]
    const { members, flaws } = membersOf('app', { hosts, flaws: [] })
    assert.deepEqual(members, [up('app@n1.test')])
    assert.deepEqual(flaws, ['[dns] 3 of 4 names cannot be node names'])
  })
})

test('the reverse name of an IPv4 address', () => {
  assert.equal(reverseName('10.0.0.254'), '254.0.0.10.in-addr.arpa')
})

test('the reverse name of an IPv6 address', () => {
  const expected = 'b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa'
  assert.equal(reverseName('2001:db8::567:89ab'), expected)
})

test('of several PTR names the one under the queried domain is the node, else the first in order', () => {
  const names = ['a.other.svc', 'pod-0.Web.svc', 'z.other.svc']
  assert.equal(nameUnder('web.svc.', names), 'pod-0.Web.svc')
  assert.equal(nameUnder('db.svc', names), 'a.other.svc')
  assert.equal(nameUnder('db.svc', []), undefined)
})

test('a name can be asked for when its labels and its length fit', () => {
  const long = `${'a'.repeat(63)}.`.repeat(3)
  const legal = ['web', 'web.test.', '_epmd._tcp.web', '0/25.2.0.192.in-addr.arpa', `${long}${'a'.repeat(61)}.`]
  const odd = ['', '.', 'a..b', '.a', 'ä.test', 'a b', 'a'.repeat(64), `${long}${'a'.repeat(62)}`]
  assert.deepEqual(
    legal.filter((name) => !isDnsName(name)),
    [],
  )
  assert.deepEqual(odd.filter(isDnsName), [])
})

test('the options have their defaults, and a name that cannot be asked for is refused', () => {
  const parsed = dnsOptionsSchema.parse({ query: 'web.test' })
  assert.deepEqual(parsed, { query: 'web.test', types: ['A', 'AAAA'], timeout: 5_000 })
  assert.equal(dnsOptionsSchema.safeParse({ query: 'a..b' }).success, false)
  assert.equal(dnsOptionsSchema.safeParse({ query: ['web.test', 'ä'] }).success, false)
  assert.equal(dnsOptionsSchema.safeParse({ query: 'web.test', server: '10.0.0.1' }).success, false)
})
