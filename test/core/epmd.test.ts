import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { nodesAt, readHosts } from '../../core/sources/epmd.ts'

const FILE = '/home/app/.hosts.erlang'

describe('a hosts file', () => {
  // What OTP 25 makes of each was seen with file:path_consult/2; a host that no node can have is refused here.
  const right: [what: string, content: string, hosts: string[]][] = [
    [
      'quoted atoms',
      "'super.eua.ericsson.se'.\n'renat.eua.ericsson.se'.\n",
      ['super.eua.ericsson.se', 'renat.eua.ericsson.se'],
    ],
    ['strings', '"a.b".\n"10.0.0.5".\n', ['a.b', '10.0.0.5']],
    ['an IPv6 address', '"fd00::1".\n', ['fd00::1']],
    ['bare atoms', 'gandalf.\nbox_2.\n', ['gandalf', 'box_2']],
    ['two on a line', "'a'. 'b'.", ['a', 'b']],
    ['no line end after the last dot', "'a'.", ['a']],
    ['a dot on its own line', "'a'\n  .\n", ['a']],
    ['Windows line ends', "'a'.\r\n'b'.\r\n", ['a', 'b']],
    ['comments', "%% all of them\n'a'.% the first\n% 'x'.\n'b'. % the 'second'.", ['a', 'b']],
    ['a comment between a host and its dot', "'a' % yes.\n.", ['a']],
    ['nothing', '', []],
    ['comments only', '% later\n', []],
  ]
  for (const [what, content, hosts] of right) {
    test(`with ${what} names its hosts in order`, () => assert.deepEqual(readHosts(content, FILE), hosts))
  }

  const wrong: [what: string, content: string, message: RegExp][] = [
    ['an unquoted name with dots', 'a.b.\n', /line 1: expected a dot after the host \(.*quotes.*got "\.b\.\\n"/],
    ['a host without its dot', "'a'.\n'b'\n'c'.\n", /line 3: expected a dot after the host/],
    ['no dot at the end', "'a'", /line 1: expected a dot .*, got the end of the file/],
    ['two dots in a row', "'a'.\n\n.\n", /line 3: expected a host in quotes/],
    ['a quote without end', "'a.\n", /line 1: expected a host in quotes/],
    ['an upper-case word', 'Gandalf.\n', /line 1: expected a host in quotes/],
    ['a tuple', '{a, b}.\n', /line 1: expected a host in quotes/],
    ['an empty host', "''.\n", /line 1: expected a host that can stand in a node name.*got "''/],
    ['a host with an @', "'app@box'.\n", /line 1: expected a host that can stand/],
    ['a host with a blank', '"a b".\n', /line 1: expected a host that can stand/],
    ['a host with a NUL byte', '"a\0b".\n', /line 1: expected a host that can stand/],
    ['an escape', "'a\\x{41}b'.\n", /line 1: expected a host in quotes/],
    ['strings one after the other', '"a" "b".\n', /line 1: expected a dot/],
    ['something else', '<html>\n', /line 1: expected a host in quotes.*got "<html>\\n"/],
  ]
  for (const [what, content, message] of wrong) {
    test(`with ${what} is refused, and the line is named`, () => {
      assert.throws(() => readHosts(content, FILE), { code: 'hosts_file_malformed', message })
      assert.throws(() => readHosts(content, FILE), { message: /^\[epmd\] \/home\/app\/\.hosts\.erlang/ })
    })
  }

  test('with more hosts than can be asked at once is refused', () => {
    assert.throws(() => readHosts("'a'.\n".repeat(513), FILE), { code: 'hosts_file_malformed', message: /at most 512/ })
  })

  test('of any size and shape takes linear time', () => {
    for (const piece of [' ', '%', "'", '%\n', '"a', '\\']) {
      try {
        readHosts(piece.repeat(1_000_000), FILE)
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'hosts_file_malformed')
      }
    }
  })
})

describe('the names that are registered in an epmd', () => {
  const names = ['app', 'app_2', 'db', 'rem-1-app']

  test('are nodes at its host', () => {
    assert.deepEqual(nodesAt('10.0.0.5', ['app'], '*'), {
      members: [{ node: 'app@10.0.0.5', status: 'up' }],
      flaws: [],
    })
  })

  test('have an IPv6 host in its one form', () => {
    assert.equal(nodesAt('fd00:0:0::1', ['app'], '*').members[0]?.node, 'app@fd00::1')
  })

  for (const [match, expected] of [
    ['*', names],
    ['app', ['app']],
    ['app*', ['app', 'app_2']],
    [
      ['db', '*_2'],
      ['app_2', 'db'],
    ],
    ['none', []],
  ] as const) {
    test(`are chosen by ${JSON.stringify(match)}`, () => {
      const { members, flaws } = nodesAt('h', names, typeof match === 'string' ? match : [...match])
      assert.deepEqual(
        members.map(({ node }) => node),
        expected.map((name) => `${name}@h`),
      )
      assert.deepEqual(flaws, [])
    })
  }

  test('that no node can have are left out and told, and alone are a failure', () => {
    const { members, flaws } = nodesAt('h', ['app', 'a@b', 'x'.repeat(300)], '*')
    assert.deepEqual(members, [{ node: 'app@h', status: 'up' }])
    assert.equal(flaws.length, 2)
    assert.match(flaws[0] ?? '', /^\[epmd\] expected a node name, got "a@b@h"$/)
    assert.throws(() => nodesAt('h', ['a@b'], '*'), { code: 'bad_answer' })
  })
})
