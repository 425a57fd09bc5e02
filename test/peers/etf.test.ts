import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import { atom, binary, charlist, decode, encode, type Term, tuple } from '../../agent/beam/etf.ts'
import { type Epmd, type Peer, startEpmd, startErl } from './erlang.ts'
import { missingPrograms } from './programs.ts'

// Expressions, and the tag that the BEAM writes for their values. Atoms in minor version 2 are in UTF-8, as ours are.
const expressions: readonly (readonly [string, number])[] = [
  ['255', 97],
  ['-1', 98],
  ['1 bsl 31 - 1', 98],
  ['1 bsl 31', 110],
  ['1 bsl 53 - 1', 110],
  ['1 bsl 53', 110],
  ['-(1 bsl 59)', 110],
  ['-(1 bsl 2000)', 110],
  ['1 bsl 2040', 111],
  ['-(1 bsl 100000) + 12345', 111],
  ['1.0', 70],
  ['-0.0', 70],
  ['1.7976931348623157e308', 70],
  ['ok', 119],
  ["'" + 'é'.repeat(100) + "'", 119],
  ["'" + '字'.repeat(255) + "'", 118],
  ['{}', 104],
  ['{a, {b, 1}, "c"}', 104],
  ['list_to_tuple(lists:seq(1, 300))', 105],
  ['[]', 106],
  ['"characters"', 107],
  ['lists:duplicate(65535, 7)', 107],
  ['lists:duplicate(65536, 7)', 108],
  ['[256, a | <<"tail">>]', 108],
  ['[alias | make_ref()]', 108],
  ['<<"binary">>', 109],
  ['<<0:100000>>', 109],
  ['<<5:3>>', 77],
  ['<<1, 2, 1:1>>', 77],
  ['#{}', 116],
  ['#{a => 1, {b} => [2.5], <<"c">> => #{}}', 116],
  ['self()', 88],
  ['make_ref()', 90],
  ['erlang:monitor(process, self(), [{alias, explicit_unalias}])', 90],
  ['hd(erlang:ports())', 89],
  ['fun lists:map/2', 113],
  ['fun(X) -> X + 1 end', 112],
  ['begin Free = {self(), [1, 2]}, fun() -> Free end end', 112],
]

// Forms that a current BEAM reads but does not write: the same term must come out of ours.
const foreign: readonly (readonly [string, string])[] = [
  ['SMALL_ATOM_EXT', '7302e96f'],
  ['PID_EXT', '677703614062000000090000000102'],
  ['NEW_REFERENCE_EXT', '72000377036140620200000001000000020000ffff'],
  ['PORT_EXT', '6677036140620000000702'],
  ['V4_PORT_EXT', '787703614062000001000000000000000005'],
  ['a list in two parts', '6c0000000161016b000102'],
  ['a bit string of whole bytes', '4d000000010807'],
]

suite('terms and a real BEAM', { skip: missingPrograms('erl') }, () => {
  let epmd: Epmd
  let peer: Peer

  before(async () => {
    epmd = await startEpmd({ address: '127.0.0.1' })
    peer = await startErl({ name: 'etf@127.0.0.1', cookie: 'etf', epmdPort: epmd.port })
  })
  after(async () => {
    await peer.kill()
    await epmd.stop()
  })

  async function external(expression: string, options: string): Promise<Buffer> {
    const text = await peer.evaluate(`base64:encode_to_string(term_to_binary(${expression}, ${options}))`)
    return Buffer.from(text.slice(1, -1), 'base64')
  }

  function fromBytes(bytes: Uint8Array): string {
    return `binary_to_term(base64:decode("${Buffer.from(bytes).toString('base64')}"), [safe])`
  }

  for (const [expression, tag] of expressions) {
    const name = expression.length > 60 ? `${expression.slice(0, 60)} …` : expression
    test(`${name} is read, and written byte for byte as the BEAM does`, async () => {
      const bytes = await external(expression, '[{minor_version, 2}]')
      assert.equal(bytes[1], tag)
      const written = Buffer.from(encode(decode(bytes)))
      assert.equal(written.toString('hex'), bytes.toString('hex'))
    })
  }

  test('what the BEAM compressed is read', async () => {
    const bytes = await external('lists:seq(1, 1000)', '[compressed]')
    assert.equal(bytes[1], 80)
    assert.deepEqual(
      decode(bytes),
      Array.from({ length: 1000 }, (_, index) => index + 1),
    )
  })

  test('atoms of OTP 25, ATOM_EXT, are read', async () => {
    const bytes = await external("{ok, 'é'}", '[{minor_version, 1}]')
    assert.equal(bytes[3], 100)
    assert.deepEqual(decode(bytes), tuple(atom('ok'), atom('é')))
  })

  test('floats of minor version 0, FLOAT_EXT, are read', async () => {
    for (const value of ['0.1', '-1.5e-300', '1.0e22']) {
      const bytes = await external(value, '[{minor_version, 0}]')
      assert.equal(bytes[1], 99)
      assert.deepEqual(decode(bytes), { type: 'float', value: Number(value) })
    }
  })

  for (const [name, hex] of foreign) {
    test(`${name} means the same to the BEAM and to us`, async () => {
      const bytes = Buffer.from(`83${hex}`, 'hex')
      await peer.evaluate("list_to_atom([16#e9, $o]), 'a@b'")
      assert.equal(await peer.evaluate(`${fromBytes(bytes)} =:= ${fromBytes(encode(decode(bytes)))}`), 'true')
    })
  }

  const ours: readonly (readonly [string, Term, string])[] = [
    ['a call', tuple(atom('call'), atom('erlang'), [atom('user')]), '{call, erlang, [user]}'],
    ['text', tuple(binary('grüße'), charlist('grüße')), '{<<"grüße"/utf8>>, "grüße"}'],
    ['a number with a fraction', 0.1, '0.1'],
    ['a bigint', -(3n ** 300n), '-(erlang:list_to_integer("' + String(3n ** 300n) + '"))'],
    ['a whole float', { type: 'float', value: 3 }, '3.0'],
    ['an improper list', { type: 'improper', elements: [1, 2], tail: atom('c') }, '[1, 2 | c]'],
    ['a map', new Map<Term, Term>([[atom('a'), [1, 300]]]), '#{a => [1, 300]}'],
    ['an export', { type: 'export', module: 'lists', function: 'map', arity: 2 }, 'fun lists:map/2'],
  ]
  for (const [name, term, expression] of ours) {
    test(`${name} of ours is what the BEAM writes as ${expression.slice(0, 40)}`, async () => {
      assert.equal(await peer.evaluate(`${fromBytes(encode(term))} =:= (${expression})`), 'true')
    })
  }

  test('a fun that went through us still runs', async () => {
    await peer.evaluate('begin N = 41, persistent_term:put(etf, fun(X) -> X + N end) end')
    const bytes = await external('persistent_term:get(etf)', '[]')
    assert.equal(await peer.evaluate(`(${fromBytes(encode(decode(bytes)))})(1)`), '42')
  })

  test('a pid that went through us still receives', async () => {
    const bytes = await external('spawn(fun() -> receive {From, M} -> From ! {got, M} end end)', '[]')
    const code = `begin ${fromBytes(encode(decode(bytes)))} ! {self(), hi}, receive G -> G after 5000 -> late end end`
    assert.equal(await peer.evaluate(code), '{got,hi}')
  })
})
