import assert from 'node:assert/strict'
import { test } from 'node:test'
import { basenameOf, canonicalHost, hostOf, isLoopback, isNodeName, nodeName, parseIpv4 } from '../../core/node.ts'

test('a node name has exactly one @, text on both sides of it, no space, and at most 255 bytes', () => {
  const host = 'h'.repeat(253)
  for (const name of ['a@h', 'app@10.0.0.1', 'app@fd00::1', `a@${host}`]) assert.equal(isNodeName(name), true, name)
  const wrong = [
    '',
    'a',
    '@',
    'a@',
    '@h',
    'a@b@h',
    'a b@h',
    'a@h ',
    'ä@h',
    'a@h\n',
    `a@${host}h`,
    undefined,
    7,
    ['a@h'],
  ]
  for (const name of wrong) assert.equal(isNodeName(name), false, JSON.stringify(name))
})

test('a name is taken apart at its @', () => {
  assert.deepEqual([basenameOf('app@10.0.0.1'), hostOf('app@10.0.0.1')], ['app', '10.0.0.1'])
})

// RFC 5952, section 4; the mapped address: section 5.
for (const [text, canonical] of [
  ['2001:DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['2001:db8:0:0:0:0:2:1', '2001:db8::2:1'],
  ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
  ['0:0:0:0:0:0:0:0', '::'],
  ['0:0:0:0:0:0:0:1', '::1'],
  ['fe80::0204', 'fe80::204'],
  ['[fd00::1]', 'fd00::1'],
  ['::ffff:10.0.0.1', '::ffff:10.0.0.1'],
  ['::ffff:a00:1', '::ffff:10.0.0.1'],
  ['64:ff9b::10.0.0.1', '64:ff9b::a00:1'],
] as const) {
  test(`${text} is ${canonical} in a name`, () => {
    assert.equal(canonicalHost(text), canonical)
    assert.equal(nodeName('app', text), `app@${canonical}`)
  })
}

for (const text of [
  '1::2::3',
  '1:2:3:4:5:6:7',
  '1:2:3:4:5:6:7:8:9',
  '1:2:3:4:5:6:7:8::',
  'fe80::1%eth0',
  '12345::',
  '::1.2.3',
  '10.0.0.1',
  'h',
]) {
  test(`${text} is no IPv6 address, and stays as it is`, () => assert.equal(canonicalHost(text), text))
}

test('an IPv4 address has four numbers up to 255 without leading zeros, which some read as octal', () => {
  assert.deepEqual(parseIpv4('10.0.0.255'), [10, 0, 0, 255])
  for (const text of ['10.0.0', '10.0.0.256', '10.0.0.01', '10.0.0.0x1', '10.0.0.1.1', '10.0.0.', '-1.0.0.1']) {
    assert.equal(parseIpv4(text), undefined, text)
  }
})

test('loopback is localhost, all of 127.0.0.0/8, and ::1', () => {
  for (const host of ['localhost', 'LOCALHOST', '127.0.0.1', '127.8.9.10', '::1', '[::1]', '0:0:0:0:0:0:0:1']) {
    assert.equal(isLoopback(host), true, host)
  }
  const others = ['10.0.0.1', '128.0.0.1', '0.0.0.0', '::', '::2', '127.0.0.1.evil.com', 'localhost.evil.com', '']
  for (const host of others) assert.equal(isLoopback(host), false, host)
})
