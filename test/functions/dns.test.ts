import assert from 'node:assert/strict'
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
import { after, describe, type TestContext, test } from 'node:test'
import { type Answer, type DecodedPacket, decode, encode, type Packet } from 'dns-packet'
import { isNodeName } from '../../core/node.ts'
import { exchange } from '../../functions/exchange.ts'
import { parseResolvConf, systemResolver } from '../../functions/resolv-conf.ts'
import { dnsSource } from '../../functions/resolvers/dns.ts'
import { edgeDnsSource } from '../../functions/resolvers/edge-dns.ts'
import { observe, type SourceContext } from '../../functions/resolvers/source.ts'
import { BAD_BODIES, flooding, serveLoopback } from '../contract/loopback.ts'
import { type Opens, sourceContract } from '../contract/source-contract.ts'
import { freePort } from '../peers/named.ts'

const AA = 0x0400
const TC = 0x0200
const quiet = { debug() {}, info() {}, warn() {}, error() {} }
const never = () => Promise.reject(new Error('expected no request'))

function look(options: object, context: Partial<SourceContext> = {}) {
  return observe(dnsSource, dnsSource.options.parse({ basename: 'app', ...options }), {
    source: 'dns',
    signal: new AbortController().signal,
    now: () => 1_000,
    log: quiet,
    fetch: never,
    ...context,
  })
}

/** What an observation says in one line: the outcome, then the names, or the code of the error. */
async function outline(observation: ReturnType<typeof look>): Promise<string> {
  const { outcome, ...rest } = await observation
  const said = 'error' in rest ? [rest.error.code] : (rest.members?.map(({ node }) => node) ?? [])
  return [outcome, ...said].join(' ')
}

const a = (name: string, data: string): Answer => ({ type: 'A', name, data })
const aaaa = (name: string, data: string): Answer => ({ type: 'AAAA', name, data })
const cname = (name: string, data: string): Answer => ({ type: 'CNAME', name, data })
const ptr = (name: string, data: string): Answer => ({ type: 'PTR', name, data })
const srv = (name: string, target: string): Answer => ({ type: 'SRV', name, data: { target, port: 80 } })

/** An answer's bytes on the wire. */
function answerTo({ id = 0, questions = [] }: Packet, { flags = AA, ...rest }: Packet): Buffer {
  return encode({ type: 'response', id, questions, flags, ...rest })
}

type Reply = Packet | 'silent'

/** A server without a network: replies by `type name`; what it does not know it answers with no data. */
function zone(replies: Record<string, Reply>) {
  const asked: string[] = []
  let underWay = 0
  let most = 0
  return {
    asked,
    most: () => most,
    exchange: async (server: string, packet: Uint8Array, signal: AbortSignal) => {
      const query = decode(Buffer.from(packet))
      const [question] = query.questions ?? []
      const key = `${question?.type} ${question?.name}`
      asked.push(`${server} ${key}`)
      most = Math.max(most, ++underWay)
      const reply = replies[`${server} ${key}`] ?? replies[key] ?? {}
      if (reply === 'silent') await aborted(signal)
      await Promise.resolve()
      underWay--
      return answerTo(query, reply as Packet)
    },
  }
}

async function aborted(signal: AbortSignal): Promise<never> {
  // The deadlines of the source hold no process alive; a socket would.
  const alive = setInterval(() => {}, 1_000)
  if (!signal.aborted) await once(signal, 'abort')
  clearInterval(alive)
  throw signal.reason
}

const server = 'udp://10.0.0.53:53'
const SERVFAIL = { flags: 2 }
const NXDOMAIN = { flags: AA | 3 }

describe('a look', () => {
  const cases: [string, object, Record<string, Reply>, string][] = [
    [
      'joins both families, in order',
      { query: 'web.test' },
      {
        'A web.test': { answers: [a('web.test', '10.0.0.2'), a('web.test', '10.0.0.1')] },
        'AAAA web.test': { answers: [aaaa('web.test', 'fd00:0:0::1')] },
      },
      'complete app@10.0.0.1 app@10.0.0.2 app@fd00::1',
    ],
    [
      'is complete with nobody at NXDOMAIN',
      { query: 'web.test' },
      { 'A web.test': NXDOMAIN, 'AAAA web.test': NXDOMAIN },
      'complete',
    ],
    ['is complete with nobody at no data', { query: 'web.test' }, {}, 'complete'],
    [
      'fails at SERVFAIL',
      { query: 'web.test' },
      { 'A web.test': SERVFAIL, 'AAAA web.test': SERVFAIL },
      'failed dns_servfail',
    ],
    ['fails at REFUSED', { query: 'web.test', types: ['A'] }, { 'A web.test': { flags: 5 } }, 'failed dns_refused'],
    [
      'fails when nobody answers in time',
      { query: 'web.test', timeout: 20 },
      { 'A web.test': 'silent', 'AAAA web.test': 'silent' },
      'failed dns_timeout',
    ],
    [
      'is partial when one family fails',
      { query: 'web.test' },
      { 'A web.test': { answers: [a('web.test', '10.0.0.1')] }, 'AAAA web.test': SERVFAIL },
      'partial app@10.0.0.1',
    ],
    [
      'is partial when one family has no data and the other fails',
      { query: 'web.test' },
      { 'AAAA web.test': SERVFAIL },
      'partial',
    ],
    [
      'joins several queries and names each node once',
      { query: ['a.test', 'b.test'] },
      {
        'A a.test': { answers: [a('a.test', '10.0.0.2')] },
        'A b.test': { answers: [a('b.test', '10.0.0.2'), a('b.test', '10.0.0.1')] },
      },
      'complete app@10.0.0.1 app@10.0.0.2',
    ],
    [
      'is partial when one of several queries fails',
      { query: ['a.test', 'b.test'] },
      { 'A a.test': { answers: [a('a.test', '10.0.0.1')] }, 'A b.test': SERVFAIL, 'AAAA b.test': SERVFAIL },
      'partial app@10.0.0.1',
    ],
    [
      'follows an alias by further questions',
      { query: 'web.test', types: ['A'] },
      {
        'A web.test': { answers: [cname('web.test', 'b.test')] },
        'A b.test': { answers: [cname('b.test', 'c.test')] },
        'A c.test': { answers: [a('c.test', '10.0.0.1')] },
      },
      'complete app@10.0.0.1',
    ],
    [
      'fails at aliases that go round',
      { query: 'web.test', types: ['A'] },
      {
        'A web.test': { answers: [cname('web.test', 'b.test')] },
        'A b.test': { answers: [cname('b.test', 'web.test')] },
      },
      'failed dns_alias_loop',
    ],
    [
      'fails when an alias leads to a failure',
      { query: 'web.test', types: ['A'] },
      { 'A web.test': { answers: [cname('web.test', 'b.test')] }, 'A b.test': SERVFAIL },
      'failed dns_servfail',
    ],
    [
      'names SRV targets',
      { query: '_b._tcp.test', types: ['SRV'] },
      {
        'SRV _b._tcp.test': {
          answers: [srv('_b._tcp.test', 'n2.test'), srv('_b._tcp.test', 'n1.test'), srv('_b._tcp.test', 'n1.test')],
        },
      },
      'complete app@n1.test app@n2.test',
    ],
    [
      'takes the addresses of SRV targets from the additional section, and asks for the rest',
      { query: 's.test', types: ['SRV'], host: 'ip' },
      {
        'SRV s.test': {
          answers: [srv('s.test', 'n1.test'), srv('s.test', 'n2.test')],
          additionals: [a('n1.test', '10.0.0.1')],
        },
        'A n2.test': { answers: [a('n2.test', '10.0.0.2')] },
      },
      'complete app@10.0.0.1 app@10.0.0.2',
    ],
    [
      'takes one family of an SRV target: IPv4 where there is any',
      { query: 's.test', types: ['SRV'], host: 'ip' },
      {
        'SRV s.test': { answers: [srv('s.test', 'n1.test')], additionals: [aaaa('n1.test', 'fd00::1')] },
        'A n1.test': { answers: [a('n1.test', '10.0.0.1')] },
      },
      'complete app@10.0.0.1',
    ],
    [
      'takes IPv6 for an SRV target without IPv4',
      { query: 's.test', types: ['SRV'], host: 'ip' },
      {
        'SRV s.test': { answers: [srv('s.test', 'n1.test')] },
        'AAAA n1.test': { answers: [aaaa('n1.test', 'fd00::1')] },
      },
      'complete app@fd00::1',
    ],
    [
      'is partial when an SRV target does not resolve',
      { query: 's.test', types: ['SRV'], host: 'ip' },
      {
        'SRV s.test': { answers: [srv('s.test', 'n1.test'), srv('s.test', 'n2.test')] },
        'A n1.test': { answers: [a('n1.test', '10.0.0.1')] },
        'A n2.test': NXDOMAIN,
      },
      'partial app@10.0.0.1',
    ],
    [
      'is partial when an SRV target fails',
      { query: 's.test', types: ['SRV'], host: 'ip' },
      {
        'SRV s.test': { answers: [srv('s.test', 'n1.test'), srv('s.test', 'n2.test')] },
        'A n1.test': { answers: [a('n1.test', '10.0.0.1')] },
        'A n2.test': SERVFAIL,
      },
      'partial app@10.0.0.1',
    ],
    [
      'fails when every SRV target fails',
      { query: 's.test', types: ['SRV'], host: 'ip' },
      { 'SRV s.test': { answers: [srv('s.test', 'n1.test')] }, 'A n1.test': SERVFAIL },
      'failed dns_servfail',
    ],
    [
      'names hosts by reverse look-up',
      { query: 'web.test', host: 'hostname' },
      {
        'A web.test': { answers: [a('web.test', '10.0.0.1')] },
        'AAAA web.test': { answers: [aaaa('web.test', '::1')] },
        'PTR 1.0.0.10.in-addr.arpa': { answers: [ptr('1.0.0.10.in-addr.arpa', 'n1.test')] },
        [`PTR 1.${'0.'.repeat(31)}ip6.arpa`]: { answers: [ptr(`1.${'0.'.repeat(31)}ip6.arpa`, 'n1.test')] },
      },
      'complete app@n1.test',
    ],
    [
      'is partial when an address has no name',
      { query: 'web.test', host: 'hostname' },
      {
        'A web.test': { answers: [a('web.test', '10.0.0.1'), a('web.test', '10.0.0.2')] },
        'PTR 1.0.0.10.in-addr.arpa': { answers: [ptr('1.0.0.10.in-addr.arpa', 'n1.test')] },
        'PTR 2.0.0.10.in-addr.arpa': NXDOMAIN,
      },
      'partial app@n1.test',
    ],
    [
      'is partial when a name is none for a node, and keeps the rest',
      { query: 's.test', types: ['SRV'] },
      { 'SRV s.test': { answers: [srv('s.test', 'n@1.test'), srv('s.test', 'n2.test')] } },
      'partial app@n2.test',
    ],
    [
      'is partial when the answer stays truncated by TCP',
      { query: 'web.test', types: ['A'] },
      { 'A web.test': { flags: AA | TC, answers: [a('web.test', '10.0.0.1')] } },
      'partial app@10.0.0.1',
    ],
  ]
  for (const [behaviour, options, replies, expected] of cases) {
    test(behaviour, async () => {
      assert.equal(await outline(look({ server, ...options }, zone(replies))), expected)
    })
  }

  test('asks by TCP what is truncated by UDP', async () => {
    const { exchange, asked } = zone({
      'udp://10.0.0.53:53 A web.test': { flags: AA | TC, answers: [a('web.test', '10.0.0.9')] },
      'tcp://10.0.0.53:53 A web.test': { answers: [a('web.test', '10.0.0.1')] },
    })
    assert.equal(
      await outline(look({ server, query: 'web.test', types: ['A'] }, { exchange })),
      'complete app@10.0.0.1',
    )
    assert.deepEqual(asked, ['udp://10.0.0.53:53 A web.test', 'tcp://10.0.0.53:53 A web.test'])
  })

  test('gives equal observations for equal records in another order', async () => {
    const records = [a('web.test', '10.0.0.1'), a('web.test', '10.0.0.2')]
    const one = await look({ server, query: 'web.test' }, zone({ 'A web.test': { answers: records } }))
    const other = await look({ server, query: 'web.test' }, zone({ 'A web.test': { answers: records.toReversed() } }))
    assert.deepEqual(one, other)
  })

  test('says why it is partial, and of many reasons the first three', async () => {
    const targets = [1, 2, 3, 4, 5].map((n) => srv('s.test', `n${n}.test`))
    const observation = await look(
      { server, query: 's.test', types: ['SRV'], host: 'ip' },
      zone({ 'SRV s.test': { answers: targets } }),
    )
    assert.equal(
      observation.outcome === 'partial' && observation.reason,
      [1, 2, 3].map((n) => `[dns] expected an address of n${n}.test, got none: its node is left out`).join('; ') +
        '; and 2 more',
    )
  })

  test('asks at most 1000 questions, 32 at once, and is partial beyond', async () => {
    const answers = Array.from({ length: 1_100 }, (_, index) => a('web.test', `10.0.${index >> 8}.${index & 255}`))
    const names: Record<string, Reply> = { 'A web.test': { answers } }
    for (let index = 0; index < 1_100; index++) {
      const name = `${index & 255}.${index >> 8}.0.10.in-addr.arpa`
      names[`PTR ${name}`] = { answers: [ptr(name, `n${index}.test`)] }
    }
    const { exchange, asked, most } = zone(names)
    const observation = await look({ server, query: 'web.test', types: ['A'], host: 'hostname' }, { exchange })
    assert.deepEqual([observation.outcome, observation.members?.length], ['partial', 999])
    assert.deepEqual([asked.length, most()], [1_000, 32])
  })

  test('asks an alias that holds odd bytes nobody', async () => {
    const { exchange, asked } = zone({ 'SRV s.test': { answers: [srv('s.test', 'n\u00e4.test')] } })
    assert.equal(
      await outline(look({ server, query: 's.test', types: ['SRV'], host: 'ip' }, { exchange })),
      'failed dns_malformed',
    )
    assert.equal(asked.length, 1)
  })

  test('asks with a random id, recursion and EDNS', async () => {
    const ids = new Set<number>()
    const queries: DecodedPacket[] = []
    const { exchange } = zone({})
    const watching: SourceContext['exchange'] = (to, packet, signal) => {
      queries.push(decode(Buffer.from(packet)))
      return exchange(to, packet, signal)
    }
    for (let round = 0; round < 8; round++)
      await look({ server, query: 'web.test', types: ['A'] }, { exchange: watching })
    for (const { id, flag_rd, additionals } of queries) {
      ids.add(id ?? 0)
      const [opt] = additionals ?? []
      assert.deepEqual([flag_rd, opt?.type === 'OPT' && opt.udpPayloadSize], [true, 1232])
    }
    // Eight equal ids by chance: once in 2^112.
    assert.ok(ids.size > 1)
  })

  test('takes the basename of its own node', async () => {
    const { exchange } = zone({ 'A web.test': { answers: [a('web.test', '10.0.0.1')] } })
    const options = { server, query: 'web.test', basename: undefined }
    assert.equal(await outline(look(options, { exchange, self: 'own@10.0.0.9' })), 'complete own@10.0.0.1')
  })

  test('without a basename and a node of its own says what to set', async () => {
    const observation = await look({ server, query: 'web.test', basename: undefined }, zone({}))
    assert.equal(observation.outcome === 'failed' && observation.error.code, 'config')
    assert.match(observation.outcome === 'failed' ? observation.error.message : '', /`basename`/)
  })

  test('refuses a basename that makes no node names', () => {
    for (const basename of ['a@b', 'a b', '', 'x'.repeat(255)]) {
      assert.equal(dnsSource.options.safeParse({ query: 'web.test', basename }).success, false, basename)
    }
  })

  test('ends with its signal', async () => {
    const controller = new AbortController()
    const { exchange } = zone({ 'A web.test': 'silent' })
    const looking = look(
      { server, query: 'web.test', types: ['A'], timeout: '1h' },
      { exchange, signal: controller.signal },
    )
    controller.abort()
    assert.equal((await looking).outcome, 'failed')
  })
})

describe('without a server', () => {
  const conf = (text: string) => ({ resolvConf: async () => systemResolver(parseResolvConf(text)) })
  const found = (name: string, data = '10.0.0.1') => ({ answers: [a(name, data)] })
  const [one, two] = ['udp://10.0.0.1:53', 'udp://10.0.0.2:53']
  const both = 'nameserver 10.0.0.1\nnameserver 10.0.0.2\n'

  const cases: [string, string, Record<string, Reply>, string, string[]][] = [
    [
      'the first nameserver is asked',
      both,
      { [`${one} A web.test`]: found('web.test') },
      'complete app@10.0.0.1',
      [`${one} A web.test`],
    ],
    [
      'the next nameserver is asked after SERVFAIL',
      both,
      { [`${one} A web.test`]: SERVFAIL, [`${two} A web.test`]: found('web.test') },
      'complete app@10.0.0.1',
      [`${one} A web.test`, `${two} A web.test`],
    ],
    [
      'the next nameserver is asked after REFUSED',
      both,
      { [`${one} A web.test`]: { flags: 5 }, [`${two} A web.test`]: found('web.test') },
      'complete app@10.0.0.1',
      [`${one} A web.test`, `${two} A web.test`],
    ],
    [
      'the next nameserver is asked after silence',
      both,
      { [`${one} A web.test`]: 'silent', [`${two} A web.test`]: found('web.test') },
      'complete app@10.0.0.1',
      [`${one} A web.test`, `${two} A web.test`],
    ],
    [
      'the next nameserver is not asked after NXDOMAIN',
      both,
      { [`${one} A web.test`]: NXDOMAIN, [`${two} A web.test`]: found('web.test') },
      'complete',
      [`${one} A web.test`],
    ],
    [
      'a nameserver is asked once more after silence, not after an error',
      both,
      { [`${one} A web.test`]: SERVFAIL, [`${two} A web.test`]: 'silent' },
      'failed dns_timeout',
      [`${one} A web.test`, `${two} A web.test`, `${two} A web.test`],
    ],
    [
      'an IPv6 nameserver stands in brackets',
      'nameserver fd00::53',
      { 'A web.test': found('web.test') },
      'complete app@10.0.0.1',
      ['udp://[fd00::53]:53 A web.test'],
    ],
    [
      'the local machine is asked when resolv.conf names nobody',
      '',
      { 'A web.test': found('web.test') },
      'complete app@10.0.0.1',
      ['udp://127.0.0.1:53 A web.test'],
    ],
    [
      'the search list moves on at NXDOMAIN and at no data',
      'nameserver 10.0.0.1\nsearch a b c\noptions ndots:5',
      { 'A web.test.a': NXDOMAIN, 'A web.test.c': found('web.test.c') },
      'complete app@10.0.0.1',
      [`${one} A web.test.a`, `${one} A web.test.b`, `${one} A web.test.c`],
    ],
    [
      'the search list stops at a failure',
      'nameserver 10.0.0.1\nsearch a b\noptions ndots:5',
      { 'A web.test.a': SERVFAIL, 'A web.test.b': found('web.test.b') },
      'failed dns_servfail',
      [`${one} A web.test.a`],
    ],
    [
      'the name itself comes last below ndots',
      'nameserver 10.0.0.1\nsearch a\noptions ndots:5',
      { 'A web.test': found('web.test') },
      'complete app@10.0.0.1',
      [`${one} A web.test.a`, `${one} A web.test`],
    ],
    [
      'the name itself comes first from ndots on',
      'nameserver 10.0.0.1\nsearch a',
      { 'A web.test.a': found('web.test.a') },
      'complete app@10.0.0.1',
      [`${one} A web.test`, `${one} A web.test.a`],
    ],
    [
      'nobody is the answer when the whole search list says so',
      'nameserver 10.0.0.1\nsearch a',
      {},
      'complete',
      [`${one} A web.test`, `${one} A web.test.a`],
    ],
  ]
  for (const [behaviour, text, replies, expected, questions] of cases) {
    test(behaviour, async () => {
      const { exchange, asked } = zone(replies)
      const options = { query: 'web.test', types: ['A'], timeout: 40 }
      assert.equal(await outline(look(options, { exchange, ...conf(text) })), expected)
      assert.deepEqual(asked, questions)
    })
  }

  test('a candidate with one family is the name for both', async () => {
    const { exchange } = zone({ 'A web.a': found('web.a'), 'AAAA web.b': { answers: [aaaa('web.b', 'fd00::6')] } })
    assert.equal(await outline(look({ query: 'web' }, { exchange, ...conf('search a b') })), 'complete app@10.0.0.1')
  })

  test('the nameserver that answered is asked first from then on', async () => {
    const { exchange, asked } = zone({
      [`${one} A web.test.a`]: SERVFAIL,
      [`${two} A web.test.b`]: found('web.test.b'),
    })
    const text = `${both}search a b\noptions ndots:5`
    assert.equal(
      await outline(look({ query: 'web.test', types: ['A'] }, { exchange, ...conf(text) })),
      'complete app@10.0.0.1',
    )
    assert.deepEqual(asked, [`${one} A web.test.a`, `${two} A web.test.a`, `${two} A web.test.b`])
  })

  test('resolv.conf is read anew at each look', async () => {
    const texts = ['nameserver 10.0.0.1', 'nameserver 10.0.0.2']
    const { exchange, asked } = zone({})
    const context = { exchange, resolvConf: async () => systemResolver(parseResolvConf(texts.shift() ?? '')) }
    for (let round = 0; round < 2; round++) await look({ query: 'web.test', types: ['A'] }, context)
    assert.deepEqual(asked, [`${one} A web.test`, `${two} A web.test`])
  })

  test('a host with sockets and no resolv.conf asks for `server`', async () => {
    assert.equal(await outline(look({ query: 'web.test' }, zone({}))), 'failed config')
  })

  test('a host without sockets asks Cloudflare by HTTPS', async () => {
    const { fetch, requests } = https({ 'A web.test': found('web.test') })
    assert.equal(await outline(look({ query: 'web.test', types: ['A'] }, { fetch })), 'complete app@10.0.0.1')
    assert.deepEqual(
      requests.map(({ url }) => url),
      ['https://cloudflare-dns.com/dns-query'],
    )
  })

  test('the source of edge hosts asks by HTTPS alone', async () => {
    const { fetch, requests } = https({ 'A web.test': found('web.test') })
    const context = {
      source: 'dns',
      signal: new AbortController().signal,
      now: () => 1_000,
      log: quiet,
      fetch,
      exchange: never,
    }
    const lookAt = (options: object) =>
      observe(
        edgeDnsSource,
        edgeDnsSource.options.parse({ query: 'web.test', types: ['A'], basename: 'app', ...options }),
        context,
      )
    assert.equal(await outline(lookAt({})), 'complete app@10.0.0.1')
    assert.equal(requests.length, 1)
    assert.equal(await outline(lookAt({ server })), 'failed config')
  })

  test('a host without sockets refuses a server that needs one', async () => {
    assert.equal(await outline(look({ query: 'web.test', server })), 'failed config')
  })
})

/** A DNS server behind `fetch`. */
function https(
  replies: Record<string, Packet>,
  init: ResponseInit = {},
  body?: (answer: Buffer) => string | Uint8Array<ArrayBuffer>,
) {
  const requests: Request[] = []
  const fetch: SourceContext['fetch'] = async (input, options) => {
    const request = new Request(input, options)
    requests.push(request.clone())
    const query = decode(Buffer.from(await request.arrayBuffer()))
    const [question] = query.questions ?? []
    const answer = answerTo(query, replies[`${question?.type} ${question?.name}`] ?? {})
    const headers = { 'content-type': 'application/dns-message' }
    return new Response(body?.(answer) ?? new Uint8Array(answer), { headers, ...init })
  }
  return { fetch, requests }
}

describe('by HTTPS', () => {
  const options = { server: 'https://dns.test/dns-query', query: 'web.test', types: ['A'] }
  const replies = { 'A web.test': { answers: [a('web.test', '10.0.0.1')] } }

  test('the question is posted as RFC 8484 says, with id 0', async () => {
    const { fetch, requests } = https(replies)
    assert.equal(await outline(look(options, { fetch })), 'complete app@10.0.0.1')
    const [request] = requests
    assert.ok(request)
    assert.deepEqual(
      [request.method, request.url, request.headers.get('content-type'), request.headers.get('accept')],
      ['POST', options.server, 'application/dns-message', 'application/dns-message'],
    )
    assert.equal(decode(Buffer.from(await request.arrayBuffer())).id, 0)
  })

  const cases: [string, ReturnType<typeof https>, string][] = [
    [
      'a truncated answer is partial',
      https({ 'A web.test': { flags: AA | TC, answers: [a('web.test', '10.0.0.1')] } }),
      'partial app@10.0.0.1',
    ],
    [
      'a page of HTML is malformed',
      https(replies, { headers: { 'content-type': 'text/html' } }),
      'failed dns_malformed',
    ],
    ['garbage is malformed', https(replies, {}, () => 'garbage'), 'failed dns_malformed'],
    ['an empty body is malformed', https(replies, {}, () => ''), 'failed dns_malformed'],
    [
      'an answer with another id is malformed',
      https(replies, {}, (answer) => new Uint8Array(answer.fill(7, 0, 2))),
      'failed dns_malformed',
    ],
    ['more than 64 KiB are malformed', https(replies, {}, () => new Uint8Array(65_536)), 'failed dns_malformed'],
    [
      'a redirect is not followed',
      https(replies, { status: 307, headers: { location: 'http://evil.test/' } }),
      'failed dns_http',
    ],
    ['an error of the server is a failure', https(replies, { status: 500 }), 'failed dns_http'],
    ['SERVFAIL with status 200 is a failure', https({ 'A web.test': SERVFAIL }), 'failed dns_servfail'],
  ]
  for (const [behaviour, { fetch, requests }, expected] of cases) {
    test(behaviour, async () => {
      assert.equal(await outline(look(options, { fetch })), expected)
      assert.equal(requests.length, 1)
    })
  }

  test('the wish to be left alone is passed on', async () => {
    const { fetch } = https(replies, { status: 429, headers: { 'retry-after': '7' } })
    const observation = await look(options, { fetch })
    assert.equal(observation.outcome === 'failed' && observation.error.retryAfterMs, 7_000)
  })

  test('a connection that fails is a failure with the server in its message', async () => {
    const observation = await look(options, {
      fetch: () => Promise.reject(new TypeError('fetch failed', { cause: new Error('refused') })),
    })
    assert.equal(observation.outcome === 'failed' && observation.error.code, 'dns_unreachable')
    assert.match(
      observation.outcome === 'failed' ? observation.error.message : '',
      /https:\/\/dns\.test\/dns-query.*refused/,
    )
  })

  test('a server that does not answer is a timeout', async () => {
    const fetch: SourceContext['fetch'] = (_, init) => aborted(init?.signal ?? AbortSignal.abort())
    assert.equal(await outline(look({ ...options, timeout: 20 }, { fetch })), 'failed dns_timeout')
  })
})

describe('on a socket', () => {
  const closers: (() => Promise<unknown>)[] = []
  after(() => Promise.all(closers.map((close) => close())))

  type Heard = (query: DecodedPacket, send: (bytes: Uint8Array) => void) => void

  /** A server on one loopback port that does over UDP and TCP as it is told. TCP replies are sent as they are. */
  async function serve({ udp, tcp }: { udp?: Heard; tcp?: Heard }): Promise<string> {
    const port = await freePort()
    if (udp) closers.push(closing(await listenUdp(port, udp)))
    if (tcp) closers.push(closing(await listenTcp(port, tcp)))
    return `udp://127.0.0.1:${port}`
  }

  const options = { query: 'web.test', types: ['A'] }
  const answer = { answers: [a('web.test', '10.0.0.1')] }
  const forged = { answers: [a('web.test', '10.6.6.6')] }

  test('an answer with another id is left unread', async () => {
    const server = await serve({
      udp: (query, send) => {
        send(answerTo({ ...query, id: ((query.id ?? 0) + 1) % 65_536 }, forged))
        send(answerTo(query, answer))
      },
    })
    assert.equal(await outline(look({ ...options, server }, { exchange })), 'complete app@10.0.0.1')
  })

  test('an answer to another question is left unread', async () => {
    const server = await serve({
      udp: (query, send) => {
        send(answerTo({ ...query, questions: [{ type: 'A', name: 'wob.test' }] }, forged))
        send(answerTo({ ...query, questions: [{ type: 'AAAA', name: 'web.test' }] }, forged))
        send(answerTo({ ...query, questions: [] }, forged))
        send(answerTo(query, answer))
      },
    })
    assert.equal(await outline(look({ ...options, server }, { exchange })), 'complete app@10.0.0.1')
  })

  test('the query itself, garbage and an empty datagram are left unread', async () => {
    const server = await serve({
      udp: (query, send) => {
        send(encode({ ...query, type: 'query' }))
        send(Buffer.from('garbage'))
        send(new Uint8Array(0))
        send(answerTo(query, answer))
      },
    })
    assert.equal(await outline(look({ ...options, server }, { exchange })), 'complete app@10.0.0.1')
  })

  test('a datagram from another port is left unread', async () => {
    const stranger = createSocket('udp4')
    closers.push(closing(stranger))
    const port = await freePort()
    const socket = createSocket('udp4')
    closers.push(closing(socket))
    socket.on('message', (bytes, { port: asker }) => {
      const query = decode(bytes)
      stranger.send(answerTo(query, forged), asker, '127.0.0.1', () =>
        socket.send(answerTo(query, answer), asker, '127.0.0.1'),
      )
    })
    socket.bind(port, '127.0.0.1')
    await once(socket, 'listening')
    assert.equal(
      await outline(look({ ...options, server: `udp://127.0.0.1:${port}` }, { exchange })),
      'complete app@10.0.0.1',
    )
  })

  test('an answer may spell the name in other letter cases', async () => {
    const server = await serve({
      udp: (query, send) => send(answerTo({ ...query, questions: [{ type: 'A', name: 'WeB.TesT' }] }, answer)),
    })
    assert.equal(await outline(look({ ...options, server }, { exchange })), 'complete app@10.0.0.1')
  })

  test('an answer with the right question and half a record is malformed', async () => {
    const server = await serve({ udp: (query, send) => send(answerTo(query, answer).subarray(0, -6)) })
    assert.equal(await outline(look({ ...options, server }, { exchange })), 'failed dns_malformed')
  })

  test('a server that does not answer is a timeout', async () => {
    const server = await serve({ udp: () => {} })
    assert.equal(await outline(look({ ...options, server, timeout: 40 }, { exchange })), 'failed dns_timeout')
  })

  test('a lost packet is sent again', async () => {
    let heard = 0
    const server = await serve({ udp: (query, send) => (heard++ === 0 ? undefined : send(answerTo(query, answer))) })
    assert.equal(await outline(look({ ...options, server, timeout: 400 }, { exchange })), 'complete app@10.0.0.1')
    assert.equal(heard, 2)
  })

  test('every packet leaves from a port of its own', async () => {
    const port = await freePort()
    const ports = new Set<number>()
    const socket = createSocket('udp4')
    closers.push(closing(socket))
    socket.on('message', (bytes, from) => {
      ports.add(from.port)
      socket.send(answerTo(decode(bytes), answer), from.port, from.address)
    })
    socket.bind(port, '127.0.0.1')
    await once(socket, 'listening')
    for (let round = 0; round < 4; round++) await look({ ...options, server: `udp://127.0.0.1:${port}` }, { exchange })
    // The same port four times by chance: once in 10^13.
    assert.ok(ports.size > 1)
  })

  test('a truncated answer is asked for by TCP, in as many pieces as it comes', async () => {
    const answers = Array.from({ length: 300 }, (_, index) => a('web.test', `10.1.${index >> 8}.${index & 255}`))
    const server = await serve({
      udp: (query, send) => send(answerTo(query, { flags: AA | TC })),
      tcp: (query, send) => {
        const bytes = framed(answerTo(query, { answers }))
        for (const [from, to] of [
          [0, 1],
          [1, 3],
          [3, 2_000],
          [2_000, undefined],
        ])
          send(bytes.subarray(from, to))
      },
    })
    const observation = await look({ ...options, server }, { exchange })
    assert.deepEqual([observation.outcome, observation.members?.length], ['complete', 300])
  })

  test('an answer that stays truncated is partial', async () => {
    const server = await serve({
      udp: (query, send) => send(answerTo(query, { flags: AA | TC })),
      tcp: (query, send) => send(framed(answerTo(query, { ...answer, flags: AA | TC }))),
    })
    assert.equal(await outline(look({ ...options, server }, { exchange })), 'partial app@10.0.0.1')
  })

  test('a truncated answer without a server on TCP is a failure', async () => {
    const server = await serve({ udp: (query, send) => send(answerTo(query, { ...answer, flags: AA | TC })) })
    assert.equal(await outline(look({ ...options, server }, { exchange })), 'failed dns_unreachable')
  })

  test('garbage by TCP is malformed', async () => {
    const server = await serve({ tcp: (_, send) => send(Buffer.from('\0\u0007garbage')) })
    const stream = server.replace('udp', 'tcp')
    assert.equal(await outline(look({ ...options, server: stream }, { exchange })), 'failed dns_malformed')
  })

  test('the answer to another question by TCP is malformed', async () => {
    const server = await serve({
      tcp: (query, send) => send(framed(answerTo({ ...query, id: (query.id ?? 0) ^ 1 }, forged))),
    })
    const stream = server.replace('udp', 'tcp')
    assert.equal(await outline(look({ ...options, server: stream }, { exchange })), 'failed dns_malformed')
  })

  test('a connection that closes early is a failure', async () => {
    const server = await serve({ tcp: (_, send) => send(new Uint8Array(0)) })
    const stream = server.replace('udp', 'tcp')
    assert.equal(await outline(look({ ...options, server: stream }, { exchange })), 'failed dns_unreachable')
  })

  test('a closed port is a failure at once, by UDP and by TCP', async () => {
    const port = await freePort()
    for (const protocol of ['udp', 'tcp']) {
      const server = `${protocol}://127.0.0.1:${port}`
      assert.equal(await outline(look({ ...options, server, timeout: '1h' }, { exchange })), 'failed dns_unreachable')
    }
  })

  test('a server that is no address is a mistake in the config', async () => {
    for (const server of ['udp://', 'udp://10.0.0.1:99999', 'udp://10.0.0.1:x', 'tcp://[::1', 'udp://a/b/c']) {
      await assert.rejects(exchange(server, new Uint8Array(12), new AbortController().signal), { code: 'config' })
    }
  })

  test('a wait ends with its signal, by UDP and by TCP', async () => {
    const controller = new AbortController()
    const server = await serve({ udp: () => controller.abort(), tcp: () => controller.abort() })
    for (const to of [server, server.replace('udp', 'tcp')]) {
      const packet = encode({ type: 'query', id: 1, questions: [{ type: 'A', name: 'web.test' }] })
      await assert.rejects(exchange(to, packet, controller.signal), { name: 'AbortError' })
    }
  })

  async function listenUdp(port: number, heard: Heard): Promise<Socket> {
    const socket = createSocket('udp4')
    socket.on('message', (bytes, from) => heard(decode(bytes), (reply) => socket.send(reply, from.port, from.address)))
    socket.bind(port, '127.0.0.1')
    await once(socket, 'listening')
    return socket
  }

  async function listenTcp(port: number, heard: Heard): Promise<Server> {
    const listener = createServer((socket) => {
      socket.on('error', () => socket.destroy())
      socket.once('data', (bytes) => {
        heard(decode(bytes.subarray(2)), (reply) => socket.write(reply))
        socket.end()
      })
    })
    listener.listen(port, '127.0.0.1')
    await once(listener, 'listening')
    return listener
  }

  function closing(listener: Socket | Server): () => Promise<unknown> {
    return () => new Promise<void>((resolve) => listener.close(() => resolve()))
  }
})

function framed(message: Buffer): Buffer {
  const length = Buffer.alloc(2)
  length.writeUInt16BE(message.length)
  return Buffer.concat([length, message])
}

describe('whatever bytes come', () => {
  const name = 'web.test'
  const recorded: [object, Packet][] = [
    [{ query: name, types: ['A'] }, { answers: [a(name, '10.0.0.1'), a(name, '10.0.0.2')] }],
    [{ query: name, types: ['AAAA'] }, { answers: [cname(name, 'b.test'), aaaa('b.test', 'fd00::1')] }],
    [
      { query: name, types: ['SRV'] },
      { answers: [srv(name, 'n1.test'), srv(name, 'n2.test')], additionals: [a('n1.test', '10.0.0.1')] },
    ],
    [
      { query: name, types: ['SRV'], host: 'ip' },
      { answers: [srv(name, 'n1.test')], additionals: [a('n1.test', '10.0.0.1')] },
    ],
    [
      { query: name, types: ['A'] },
      { authorities: [{ type: 'SOA', name: 'test', data: { mname: 'ns.test', rname: 'admin.test' } }] },
    ],
  ]

  test('a look gives a clean observation (20,000 mutated answers)', async () => {
    const random = seeded(20_261_120)
    const pick = (limit: number) => Math.floor(random() * limit)
    const outcomes = { complete: 0, partial: 0, failed: 0 }
    const signal = new AbortController().signal
    for (let round = 0; round < 20_000; round++) {
      const [options, packet] = recorded[round % recorded.length] ?? [{}, {}]
      // Half of the mutations leave header and question alone, to reach the records.
      const from = round % 2 === 0 ? 0 : 12 + name.length + 6
      const mutating: SourceContext['exchange'] = (_, bytes) =>
        Promise.resolve(mutate(answerTo(decode(Buffer.from(bytes)), packet), from, pick))
      const observation = await look({ server: 'tcp://10.0.0.53:53', ...options }, { exchange: mutating, signal })
      outcomes[observation.outcome]++
      if (observation.outcome === 'failed') assert.match(observation.error.code, /^dns_/)
      else
        assert.ok(
          observation.members.every(({ node }) => isNodeName(node)),
          JSON.stringify(observation),
        )
    }
    // Every kind is reached, or the test would prove nothing.
    assert.ok(outcomes.complete > 1_000 && outcomes.partial > 50 && outcomes.failed > 1_000, JSON.stringify(outcomes))
  })

  /** One to four changes from byte `from` on: a bit, a byte, a cut, a gap, a repetition. */
  function mutate(bytes: Buffer, from: number, pick: (limit: number) => number): Buffer {
    let mutated = Buffer.from(bytes)
    for (let changes = 1 + pick(4); changes > 0; changes--) {
      const at = from + pick(Math.max(1, mutated.length - from))
      const kind = pick(5)
      if (kind === 0) mutated[at] = (mutated[at] ?? 0) ^ (1 << pick(8))
      if (kind === 1) mutated[at] = pick(256)
      if (kind === 2 && pick(4) === 0) mutated = mutated.subarray(0, at)
      if (kind === 3) mutated = Buffer.concat([mutated.subarray(0, at), mutated.subarray(at + 1 + pick(4))])
      if (kind === 4) mutated = Buffer.concat([mutated.subarray(0, at), mutated.subarray(Math.max(0, at - pick(16)))])
    }
    return mutated
  }

  /** mulberry32: the same numbers at every run. */
  function seeded(seed: number): () => number {
    let state = seed
    return () => {
      state = (state + 0x6d2b79f5) | 0
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
    }
  }
})

/** A nameserver on the loopback that answers each packet with these bytes, or not at all. */
async function nameserver(t: TestContext, reply: (query: Packet) => Uint8Array | undefined) {
  const socket = createSocket('udp4')
  const { promise: asked, resolve } = Promise.withResolvers<void>()
  socket.on('message', (packet, { port, address }) => {
    resolve()
    const bytes = reply(decode(packet))
    if (bytes !== undefined) socket.send(bytes, port, address)
  })
  const { promise: bound, resolve: binds } = Promise.withResolvers<void>()
  socket.bind(0, '127.0.0.1', binds)
  await bound
  t.after(() => socket.close())
  return { server: `udp://127.0.0.1:${socket.address().port}`, asked }
}

/** A world whose nameserver answers so, its names made of addresses. */
const udp =
  (
    reply: Packet | ((query: Packet) => Uint8Array | undefined),
    { hosts = [''], code = '', timeout = '10s' } = {},
  ): Opens =>
  async (t) => {
    const { server, asked } = await nameserver(
      t,
      typeof reply === 'function' ? reply : (query) => answerTo(query, reply),
    )
    const options = { query: 'web.test', types: ['A'], server, timeout }
    const nodes = hosts.map((host) => `app@${host}`)
    return { options, asked, nodes, ...(code !== '' && { code }) }
  }
const listed = (...hosts: string[]): Packet => ({ answers: hosts.map((host) => a('web.test', host)) })

/** A world that is asked by HTTPS, but for the S. */
const doh =
  (handle: Parameters<typeof serveLoopback>[1], code: string): Opens =>
  async (t) => {
    const { url } = await serveLoopback(t, handle)
    return { options: { query: 'web.test', types: ['A'], server: url }, code }
  }

sourceContract({
  name: 'dns',
  kind: 'dns',
  load: () => dnsSource,
  good: {
    query: ['a.test', 'b.test.'],
    types: ['AAAA', 'SRV'],
    host: 'ip',
    server: 'udp://10.0.0.53:53',
    timeout: '1s',
  },
  bad: { query: 'a..b', types: ['MX'], host: 'name', server: '10.0.0.53', timeout: 'soon', basename: 5 },
  lists: udp(listed('10.0.0.2', '10.0.0.1', '10.0.0.2'), { hosts: ['10.0.0.1', '10.0.0.2'] }),
  nobody: udp(NXDOMAIN),
  flawed: {
    'a target that makes no name': async (t) => {
      const answers = [srv('web.test', 'b.test'), srv('web.test', `${'x'.repeat(63)}.`.repeat(4).slice(0, 252))]
      const { server } = await nameserver(t, (query) => answerTo(query, { answers }))
      return { options: { query: 'web.test', types: ['SRV'], server, basename: 'app' }, nodes: ['app@b.test'] }
    },
    'a target that does not resolve': async (t) => {
      const { server } = await nameserver(t, (query) => {
        const [question] = query.questions ?? []
        if (question?.type === 'SRV')
          return answerTo(query, { answers: [srv('web.test', 'b.test'), srv('web.test', 'c.test')] })
        return answerTo(
          query,
          question?.name === 'b.test' && question.type === 'A' ? { answers: [a('b.test', '10.0.0.2')] } : SERVFAIL,
        )
      })
      return { options: { query: 'web.test', types: ['SRV'], host: 'ip', server }, nodes: ['app@10.0.0.2'] }
    },
  },
  failing: {
    SERVFAIL: udp(SERVFAIL, { code: 'dns_servfail' }),
    REFUSED: udp({ flags: 5 }, { code: 'dns_refused' }),
    'a header alone': udp((query) => answerTo(query, listed('10.0.0.2')).subarray(0, 12), {
      code: 'dns_timeout',
      timeout: '50ms',
    }),
    'bytes that are no DNS': udp(() => Buffer.alloc(64), { code: 'dns_timeout', timeout: '50ms' }),
    'no answer in time': udp(() => undefined, { code: 'dns_timeout', timeout: '50ms' }),
    'a referral': udp({ flags: 0, authorities: [{ type: 'NS', name: 'test', data: 'ns.test' }] }, { code: 'dns_lame' }),
    'a loop of aliases': udp({ answers: [cname('web.test', 'web.test')] }, { code: 'dns_alias_loop' }),
    'a 500 of the resolver': doh((_request, response) => void response.writeHead(500).end(), 'dns_http'),
    ...Object.fromEntries(
      Object.entries(BAD_BODIES).map(([what, body]) => [
        what,
        doh((_request, response) => void response.end(body), 'dns_malformed'),
      ]),
    ),
  },
  hangs: udp(() => undefined),
  floods: doh(flooding(), 'dns_malformed'),
})
