import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { exchange } from '../../functions/exchange.ts'
import { dnsSource } from '../../functions/resolvers/dns.ts'
import { observe } from '../../functions/resolvers/source.ts'
import { type Dnsdist, freePort, type Named, startDnsdist, startNamed } from './named.ts'
import { missingPrograms } from './programs.ts'

const quiet = { debug() {}, info() {}, warn() {}, error() {} }
const many = Array.from({ length: 300 }, (_, index) => `10.1.${index >> 8}.${index & 255}`)

const zones = {
  'example.test': [
    'web A 10.0.0.2',
    'web A 10.0.0.1',
    'web AAAA fd00::0:1',
    'alias CNAME alias2',
    'alias2 CNAME web',
    'away CNAME web.other.test.',
    'dangling CNAME nothing',
    'nowhere CNAME web.elsewhere.test.',
    'round CNAME about',
    'about CNAME round',
    'empty TXT "no address"',
    'nodes A 10.0.0.1',
    'nodes A 10.0.0.2',
    'unnamed A 10.0.0.1',
    'unnamed A 10.0.0.99',
    '_beam._tcp SRV 0 0 4369 node1',
    '_beam._tcp SRV 0 0 4369 node2',
    '_beam._tcp SRV 0 0 9999 node2',
    'node1 A 10.0.0.1',
    'node2 A 10.0.0.2',
    'node2 AAAA fd00::2',
    '_gone._tcp SRV 0 0 0 .',
    '_big._tcp SRV 0 0 4369 node1.other.test.',
    'child NS ns.child',
    'ns.child A 127.0.0.1',
    ...many.map((address) => `many A ${address}`),
    ...many.map((_, index) => `_many._tcp SRV 0 0 4369 m${index}`),
    ...many.map((address, index) => `m${index} A ${address}`),
  ],
  'other.test': ['web A 10.2.0.1', 'node1 A 10.2.0.1'],
  'broken.test': ['web A 10.3.0.1'],
  '0.0.10.in-addr.arpa': ['1 PTR node1.example.test.', '2 PTR node2.example.test.'],
}

describe('real DNS servers', { skip: missingPrograms('named', 'nsupdate', 'dnsdist') }, () => {
  let named: Named
  let dnsdist: Dnsdist
  before(async () => {
    named = await startNamed({ zones })
    dnsdist = await startDnsdist({ backend: named })
  })
  after(async () => {
    await dnsdist.stop()
    await named.stop()
  })

  const servers: [string, () => string][] = [
    ['UDP', () => named.server],
    ['TCP', () => named.server.replace('udp:', 'tcp:')],
    ['HTTPS', () => dnsdist.url],
  ]

  function look(server: string, options: object) {
    return observe(dnsSource, dnsSource.options.parse({ server, basename: 'app', ...options }), {
      source: 'dns',
      signal: new AbortController().signal,
      now: () => 1_000,
      log: quiet,
      fetch,
      exchange,
    })
  }

  /** The outcome, then the hosts of the members, or the code of the error. */
  async function outline(observation: ReturnType<typeof look>): Promise<string> {
    const { outcome, ...rest } = await observation
    const said = 'error' in rest ? [rest.error.code] : (rest.members?.map(({ node }) => node.replace('app@', '')) ?? [])
    return [outcome, ...said].join(' ')
  }

  const srv = { types: ['SRV'] }
  const cases: [string, object, string][] = [
    ['addresses of both families', { query: 'web.example.test' }, 'complete 10.0.0.1 10.0.0.2 fd00::1'],
    ['aliases within a zone', { query: 'alias.example.test' }, 'complete 10.0.0.1 10.0.0.2 fd00::1'],
    ['an alias into another zone', { query: 'away.example.test' }, 'complete 10.2.0.1'],
    ['an alias to a name that does not exist', { query: 'dangling.example.test' }, 'complete'],
    ['an alias to a zone that is not served', { query: 'nowhere.example.test' }, 'failed dns_refused'],
    ['a loop of aliases', { query: 'round.example.test', types: ['A'] }, 'failed dns_servfail'],
    ['NXDOMAIN', { query: 'missing.example.test' }, 'complete'],
    ['no data', { query: 'empty.example.test' }, 'complete'],
    ['a referral', { query: 'web.child.example.test' }, 'failed dns_lame'],
    ['REFUSED', { query: 'web.elsewhere.test' }, 'failed dns_refused'],
    [
      'a query that answers and one that is refused',
      { query: ['away.example.test', 'web.elsewhere.test'] },
      'partial 10.2.0.1',
    ],
    ['SRV targets', { query: '_beam._tcp.example.test', ...srv }, 'complete node1.example.test node2.example.test'],
    [
      'addresses of SRV targets',
      { query: '_beam._tcp.example.test', ...srv, host: 'ip' },
      'complete 10.0.0.1 10.0.0.2',
    ],
    ['an SRV target in another zone', { query: '_big._tcp.example.test', ...srv, host: 'ip' }, 'complete 10.2.0.1'],
    ['an SRV record that says there is no service', { query: '_gone._tcp.example.test', ...srv }, 'complete'],
    [
      'names by reverse look-up',
      { query: 'nodes.example.test', host: 'hostname' },
      'complete node1.example.test node2.example.test',
    ],
    ['an address without a name', { query: 'unnamed.example.test', host: 'hostname' }, 'partial node1.example.test'],
  ]
  for (const [transport, server] of servers) {
    describe(`by ${transport}`, () => {
      for (const [behaviour, options, expected] of cases) {
        test(behaviour, async () => assert.equal(await outline(look(server(), options)), expected))
      }

      test('300 addresses', async () => {
        const { outcome, members } = await look(server(), { query: 'many.example.test' })
        assert.deepEqual(
          [outcome, members?.map(({ node }) => node)],
          ['complete', many.map((ip) => `app@${ip}`).sort()],
        )
      })

      test('the addresses of 300 SRV targets', async () => {
        const { outcome, members } = await look(server(), { query: '_many._tcp.example.test', ...srv, host: 'ip' })
        assert.deepEqual(
          [outcome, members?.map(({ node }) => node)],
          ['complete', many.map((ip) => `app@${ip}`).sort()],
        )
      })

      test('SERVFAIL while the zone is broken, and its records after', async () => {
        await named.breakZone('broken.test')
        assert.equal(await outline(look(server(), { query: 'web.broken.test' })), 'failed dns_servfail')
        await named.mendZone('broken.test')
        assert.equal(await outline(look(server(), { query: 'web.broken.test' })), 'complete 10.3.0.1')
      })

      test('records that come and go', async () => {
        const options = { query: 'late.example.test' }
        await named.update('update add late.example.test 0 A 10.0.0.7', 'update add late.example.test 0 A 10.0.0.8')
        assert.equal(await outline(look(server(), options)), 'complete 10.0.0.7 10.0.0.8')
        await named.update('update delete late.example.test A 10.0.0.7')
        assert.equal(await outline(look(server(), options)), 'complete 10.0.0.8')
        await named.update('update delete late.example.test A')
        assert.equal(await outline(look(server(), options)), 'complete')
      })

      test('a timeout while the server hangs, and its answer after', async () => {
        await named.pause()
        const hanging = await outline(look(server(), { query: 'web.other.test', timeout: 200 }))
        named.resume()
        assert.equal(hanging, 'failed dns_timeout')
        assert.equal(await outline(look(server(), { query: 'web.other.test' })), 'complete 10.2.0.1')
      })
    })
  }

  test('a port that is closed', async () => {
    const port = await freePort()
    for (const server of [`udp://127.0.0.1:${port}`, `tcp://127.0.0.1:${port}`, `http://127.0.0.1:${port}/dns-query`]) {
      assert.equal(await outline(look(server, { query: 'web.example.test' })), 'failed dns_unreachable')
    }
  })

  test('a path that is not for DNS', async () => {
    assert.equal(await outline(look(`${dnsdist.url}/x`, { query: 'web.example.test' })), 'failed dns_http')
  })
})
