import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { parseResolvConf, searchNames } from '../../functions/resolv-conf.ts'

describe('resolv.conf', () => {
  test('of a Kubernetes pod gives its nameserver, its search list and its ndots', () => {
    const text = 'search ns.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n'
    assert.deepEqual(parseResolvConf(text), {
      nameservers: ['10.96.0.10'],
      search: ['ns.svc.cluster.local', 'svc.cluster.local', 'cluster.local'],
      ndots: 5,
      timeoutMs: 5_000,
      attempts: 2,
    })
  })

  const cases: [string, string, object][] = [
    ['that is empty means the local machine', '', { nameservers: ['127.0.0.1'], search: [], ndots: 1 }],
    [
      'takes the first three nameservers',
      [1, 2, 3, 4].map((n) => `nameserver 10.0.0.${n}`).join('\n'),
      { nameservers: ['10.0.0.1', '10.0.0.2', '10.0.0.3'] },
    ],
    ['takes the last of domain and search', 'search a.test b.test\ndomain c.test', { search: ['c.test'] }],
    ['takes the last of search and domain', 'domain c.test\nsearch a.test b.test', { search: ['a.test', 'b.test'] }],
    [
      'has comments, tabs and carriage returns',
      '# nameserver 10.6.6.6\n; search no.test\nnameserver\t10.0.0.1 \r\n',
      { nameservers: ['10.0.0.1'], search: [] },
    ],
    ['wants its keywords at the start of the line', ' nameserver 10.0.0.1', { nameservers: ['127.0.0.1'] }],
    [
      'caps what options ask for',
      'options ndots:99 timeout:99 attempts:99',
      { ndots: 15, timeoutMs: 30_000, attempts: 5 },
    ],
    [
      'waits and asks at least once',
      'options timeout:0 attempts:0 ndots:0',
      { timeoutMs: 1_000, attempts: 1, ndots: 0 },
    ],
    [
      'ignores options that it does not know',
      'options rotate edns0 trust-ad ndots:x use-vc\nsortlist 10.0.0.0',
      { ndots: 1, attempts: 2 },
    ],
    ['keeps IPv6 nameservers and their zone', 'nameserver fe80::1%eth0', { nameservers: ['fe80::1%eth0'] }],
  ]
  for (const [behaviour, text, expected] of cases) {
    test(behaviour, () => {
      const parsed = parseResolvConf(text)
      assert.deepEqual({ ...parsed, ...expected }, parsed)
    })
  }
})

describe('the names to try', () => {
  const search = ['ns.test', 'test']
  const cases: [string, string, Parameters<typeof searchNames>[1], string[]][] = [
    ['begin with the search list below ndots', 'web', { search, ndots: 1 }, ['web.ns.test', 'web.test', 'web']],
    [
      'begin with the name itself from ndots on',
      'web.ns',
      { search, ndots: 1 },
      ['web.ns', 'web.ns.ns.test', 'web.ns.test'],
    ],
    [
      'heed the ndots of Kubernetes',
      'web.ns.svc',
      { search, ndots: 5 },
      ['web.ns.svc.ns.test', 'web.ns.svc.test', 'web.ns.svc'],
    ],
    ['are one for a name with a final dot', 'web.', { search, ndots: 5 }, ['web.']],
    ['are one without a search list', 'web', { search: [], ndots: 1 }, ['web']],
    [
      'take the root in the search list as the name itself',
      'web',
      { search: ['.', 'test'], ndots: 1 },
      ['web', 'web.test'],
    ],
  ]
  for (const [behaviour, query, conf, expected] of cases) {
    test(behaviour, () => assert.deepEqual(searchNames(query, conf), expected))
  }
})
