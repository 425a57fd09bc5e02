import assert from 'node:assert/strict'
import { deflateSync } from 'node:zlib'
import { atom, binary, charlist, decodeFrom, encode, type Term, textOf, tuple } from '../../../agent/beam/etf.ts'
import { showTerm } from '../../../agent/beam/rpc.ts'
import { RollcallError } from '../../../core/error.ts'
import type { Target } from '../target.ts'

const node = 'app@10.0.0.1'
const terms: readonly Term[] = [
  [0, 255, -1, 2 ** 31, -(2 ** 53 - 1), 2n ** 64n, -(2n ** 2_050n), { type: 'float', value: -0.5 }],
  tuple(atom('ok'), atom('ärger'), binary('text'), charlist('text'), [], tuple()),
  new Map<Term, Term>([
    [atom('node'), atom(node)],
    [tuple(1), new Map()],
  ]),
  { type: 'pid', node, id: 1, serial: 2, creation: 3 },
  { type: 'ref', node, creation: 3, words: [1, 2, 3, 4, 5] },
  { type: 'port', node, id: 2n ** 40n, creation: 3 },
  { type: 'export', module: 'lists', function: 'map', arity: 2 },
  { type: 'bitstring', bytes: Uint8Array.of(1, 2), bits: 3 },
  { type: 'improper', elements: [1, [2, 3]], tail: atom('end') },
  Array.from({ length: 300 }, (_, index) => tuple(index, [index])),
]
const pid = [88, ...encode(atom(node)).subarray(1), ...Array.from({ length: 12 }, () => 1)]
const inner = [
  2,
  ...Array.from({ length: 20 }, () => 7),
  0,
  0,
  0,
  1,
  ...encode(atom('m')).subarray(1),
  97,
  1,
  97,
  2,
  ...pid,
  106,
]
const fun = [131, 112, 0, 0, 0, inner.length + 4, ...inner]
const packed = deflateSync(encode(charlist('text')).subarray(1))

/** The external term format: what the wire brings is a term that can be sent again as it is, or an error `etf`. */
export function etfTarget(): Target {
  return {
    seeds: [
      ...terms.map(encode),
      Uint8Array.from(fun),
      Uint8Array.of(131, 80, 0, 0, 0, 7, ...packed),
      Uint8Array.of(131, 99, ...Buffer.from('1.50000000000000000000e+00\0\0\0\0\0')),
      Uint8Array.of(131, 100, 0, 1, 228),
      // A list in the tail of a list, and so on.
      Uint8Array.of(131, ...Array.from({ length: 20 }, () => [108, 0, 0, 0, 1, 106]).flat(), 106),
    ],
    words: [...terms.map((term) => encode(term).subarray(1)), Uint8Array.of(108, 0, 0, 0, 1), Uint8Array.of(104, 1)],
    inputs: 20_000,

    run(input) {
      const term = read(input)
      if (term === undefined) return
      showTerm(term)
      textOf(term)
      const written = encode(term)
      const again = decodeFrom(written, 0)
      assert.equal(again.next, written.length)
      assert.deepEqual(encode(again.term), written)
      if (written.length < 4_096) assert.deepEqual(again.term, term)
    },
  }
}

function read(bytes: Uint8Array): Term | undefined {
  try {
    return decodeFrom(bytes, 0).term
  } catch (error) {
    if (error instanceof RollcallError && error.code === 'etf') return undefined
    throw error
  }
}
