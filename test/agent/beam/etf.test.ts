import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { deflateSync } from 'node:zlib'
import {
  atom,
  binary,
  charlist,
  decode,
  decodeFrom,
  encode,
  isAtom,
  isKind,
  isTuple,
  type Term,
  textOf,
  tuple,
} from '../../../agent/beam/etf.ts'
import { RollcallError } from '../../../core/error.ts'

setFlagsFromString('--expose-gc')
const gc: () => void = runInNewContext('gc')

const pid = { type: 'pid', node: 'a@b', id: 9, serial: 1, creation: 0xfedcba98 } as const
const ref = { type: 'ref', node: 'a@b', creation: 5, words: [1, 2, 0xffffffff] } as const

const zeros = '00'.repeat(21)
const fun = `7000000038${zeros}0000000177016d6101610258770361406200000009000000010000000561ff`

// Bytes without the version byte; what encode gives, and decode takes.
const canonical: readonly (readonly [string, Term, string])[] = [
  ['a byte', 255, '61ff'],
  ['an integer of 32 bits', 256, '6200000100'],
  ['a negative integer', -1, '62ffffffff'],
  ['the largest of 32 bits', 2 ** 31 - 1, '627fffffff'],
  ['the smallest of 32 bits', -(2 ** 31), '6280000000'],
  ['one beyond 32 bits', 2 ** 31, '6e040000000080'],
  ['a negative beyond 32 bits', -(2 ** 31) - 1, '6e040101000080'],
  ['one with zero bytes inside', 2 ** 32 + 1, '6e05000100000001'],
  ['the largest safe integer', Number.MAX_SAFE_INTEGER, '6e0700ffffffffffff1f'],
  ['the first bigint', 2n ** 53n, '6e070000000000000020'],
  ['a negative bigint', -(2n ** 64n), '6e0901000000000000000001'],
  ['a large bigint', 256n ** 255n, `6f0000010000${'00'.repeat(255)}01`],
  ['a float', { type: 'float', value: 1.5 }, '463ff8000000000000'],
  ['a whole float', { type: 'float', value: 1 }, '463ff0000000000000'],
  ['a negative zero', { type: 'float', value: -0 }, '468000000000000000'],
  ['an atom', atom('ok'), '77026f6b'],
  ['the empty atom', atom(''), '7700'],
  ['an atom in UTF-8', atom('é'), '7702c3a9'],
  ['an atom that begins with a byte order mark', atom('\ufeffa'), '7704efbbbf61'],
  ['an atom of 255 characters in 1,020 bytes', atom('😀'.repeat(255)), `7603fc${'f09f9880'.repeat(255)}`],
  ['the empty tuple', tuple(), '6800'],
  ['a tuple', tuple(1, tuple()), '680261016800'],
  ['a large tuple', tuple(...Array<Term>(256).fill(0)), `6900000100${'6100'.repeat(256)}`],
  ['the empty list', [], '6a'],
  ['a list of bytes', [97, 0, 255], '6b00036100ff'],
  ['a list of other things', [256, 1], '6c00000002620000010061016a'],
  ['a list of 65,535 bytes', Array<Term>(65_535).fill(1), `6bffff${'01'.repeat(65_535)}`],
  ['a list of 65,536 bytes', Array<Term>(65_536).fill(1), `6c00010000${'6101'.repeat(65_536)}6a`],
  [
    'an improper list',
    { type: 'improper', elements: [atom('a')], tail: pid },
    '6c000000017701615877036140620000000900000001fedcba98',
  ],
  ['a binary', binary('é'), '6d00000002c3a9'],
  ['a bit string', { type: 'bitstring', bytes: Uint8Array.of(0xa0), bits: 3 }, '4d0000000103a0'],
  [
    'a map',
    new Map<Term, Term>([
      [1, 2],
      [atom('a'), []],
    ]),
    '7400000002610161027701616a',
  ],
  ['a pid', pid, '5877036140620000000900000001fedcba98'],
  ['a reference', ref, '5a00037703614062000000050000000100000002ffffffff'],
  ['a port', { type: 'port', node: 'a@b', id: 7n, creation: 5 }, '5977036140620000000700000005'],
  [
    'a port beyond 28 bits',
    { type: 'port', node: 'a@b', id: 2n ** 40n, creation: 5 },
    '787703614062000001000000000000000005',
  ],
  ['an export', { type: 'export', module: 'm', function: 'f', arity: 2 }, '7177016d7701666102'],
  ['a fun', { type: 'fun', bytes: Buffer.from(fun, 'hex') }, fun],
]

// Older forms: decoded as the same terms, never encoded.
const older: readonly (readonly [string, Term, string])[] = [
  ['ATOM_EXT', atom('é'), '640001e9'],
  ['SMALL_ATOM_EXT', atom('é'), '7301e9'],
  ['ATOM_UTF8_EXT', atom('é'), '760002c3a9'],
  [
    'FLOAT_EXT',
    { type: 'float', value: -1.5e10 },
    `63${Buffer.from('-1.50000000000000000000e+10').toString('hex')}${'00'.repeat(4)}`,
  ],
  ['PID_EXT', { ...pid, creation: 2 }, '677703614062000000090000000102'],
  ['NEW_REFERENCE_EXT', { ...ref, creation: 2 }, '7200037703614062020000000100000002ffffffff'],
  ['PORT_EXT', { type: 'port', node: 'a@b', id: 7n, creation: 2 }, '6677036140620000000702'],
  ['a list in two parts', [1, 2], '6c0000000161016b000102'],
  ['a small number as LARGE_BIG_EXT', -1, '6f00000002010100'],
  ['a bit string of whole bytes', Uint8Array.of(7), '4d000000010807'],
]

const broken: readonly (readonly [string, string])[] = [
  ['nothing', ''],
  ['another version', '8261ff'],
  ['a version alone', '83'],
  ['an unknown tag', '8301'],
  ['an atom cache reference', '835200'],
  ['bytes after the term', '83610000'],
  ['an integer cut short', '83620000'],
  ['a binary longer than what is left', '836dffffffff00'],
  ['a list that announces more than is left', '836cffffffff6a'],
  ['a list without its tail', '836c000000016101'],
  ['a tail without elements', '836c000000006101'],
  ['a tuple that announces more than is left', '8369ffffffff'],
  ['a map that announces more than is left', '8374ffffffff'],
  ['a map with a key twice', '8374000000026101610261016103'],
  ['a string cut short', '836bffff00'],
  ['an integer larger than the BEAM takes', `836f00080001${'00'.repeat(8)}`],
  ['a float that is not a number', '83467ff8000000000000'],
  ['an infinite float', '83467ff0000000000000'],
  ['decimals that are none', `8363${Buffer.from('0x10').toString('hex').padEnd(62, '0')}`],
  ['an atom in broken UTF-8', '837702c328'],
  ['an atom of 256 characters', `83760100${'61'.repeat(256)}`],
  ['a latin1 atom of 256 characters', `83640100${'e9'.repeat(256)}`],
  ['a bit string with 9 bits in its last byte', '834d000000010900'],
  ['a bit string without bytes', '834d0000000003'],
  ['a pid whose node is no atom', '83586101000000090000000000000001'],
  ['a reference without words', '835a000077016100000001'],
  ['a reference of 6 words', `835a000677016100000001${'00000001'.repeat(6)}`],
  ['an export whose arity is no byte', '837177016d7701666200000001'],
  ['a fun shorter than it says', `83${fun.replace('00000038', '00000039')}00`],
  ['a fun longer than it says', `83${fun.replace('00000038', '00000037')}`],
  ['a fun with a broken term inside', `83${fun.replace('77016d', '01016d')}`],
  ['513 levels', `83${'6801'.repeat(513)}6a`],
]

suite('encode and decode', () => {
  for (const [name, term, hex] of canonical) {
    test(`${name} has the bytes of the BEAM, and comes back as it was`, () => {
      assert.equal(Buffer.from(encode(term)).toString('hex'), `83${hex}`)
      assert.deepEqual(plain(decode(Buffer.from(`83${hex}`, 'hex'))), plain(term))
    })
  }

  for (const [name, term, hex] of older) {
    test(`decode takes ${name}`, () => {
      assert.deepEqual(plain(decode(Buffer.from(`83${hex}`, 'hex'))), plain(term))
    })
  }

  for (const [name, hex] of broken) {
    test(`decode refuses ${name}`, () => {
      assert.throws(() => decode(Buffer.from(hex, 'hex')), isEtfError)
    })
  }

  test('512 levels are taken, in and out', () => {
    const bytes = Buffer.from(`83${'6801'.repeat(512)}6a`, 'hex')
    assert.deepEqual(Buffer.from(encode(decode(bytes))), bytes)
  })

  test('a bigint that fits a smaller form is written in it', () => {
    assert.deepEqual(encode(5n), encode(5))
    assert.deepEqual(encode(-(2n ** 40n)), encode(-(2 ** 40)))
  })

  test('an integer is a number where that is exact, and a bigint beyond', () => {
    assert.equal(decode(encode(2n ** 53n - 1n)), Number.MAX_SAFE_INTEGER)
    assert.equal(decode(encode(2n ** 53n)), 2n ** 53n)
    assert.equal(decode(encode(-(2n ** 53n) - 1n)), -(2n ** 53n) - 1n)
  })

  test('several terms in a row are read one by one', () => {
    const bytes = Buffer.concat([Uint8Array.of(112), encode(tuple(6, atom('rex'))), encode(charlist('hé'))])
    const control = decodeFrom(bytes, 1)
    const message = decodeFrom(bytes, control.next)
    assert.deepEqual(control.term, tuple(6, atom('rex')))
    assert.equal(textOf(message.term), 'hé')
    assert.equal(message.next, bytes.length)
  })

  test('terms encoded one after another do not disturb each other', () => {
    const terms = Array.from({ length: 300 }, (_, index) => binary(`${index}:`.repeat(index * 4)))
    const encoded = terms.map((term) => encode(term))
    assert.deepEqual(
      encoded.map((bytes) => plain(decode(bytes))),
      terms.map(plain),
    )
  })

  test('tells names apart that begin and end alike', () => {
    const names = [
      '',
      'a',
      'ab',
      'ba',
      'abc',
      'abcd',
      'abcda',
      'same-01-suffixes',
      'same-02-suffixes',
      'same-011-suffixes',
    ]
    for (const name of [...names, ...names]) assert.deepEqual(decode(encode(atom(name))), atom(name))
  })

  test('a term that could not be encoded leaves nothing behind', () => {
    assert.throws(() => encode(tuple(atom('before'), { type: 'float', value: Number.NaN })), isEtfError)
    assert.deepEqual(Buffer.from(encode(1)).toString('hex'), '836101')
  })

  const noTerms: readonly (readonly [string, unknown])[] = [
    ['undefined', undefined],
    ['null', null],
    ['a boolean', true],
    ['a string', 'text'],
    ['an object without a type', { name: 'x' }],
    ['not a number', Number.NaN],
    ['an integer that is not safe', 2 ** 53],
    ['an atom of 256 characters', atom('a'.repeat(256))],
    ['an atom with half a surrogate pair', atom('\ud800')],
    ['a pid with an id beyond 32 bits', { ...pid, id: 2 ** 32 }],
    ['a pid with a negative serial', { ...pid, serial: -1 }],
    ['a reference without words', { ...ref, words: [] }],
    ['a port with a negative id', { type: 'port', node: 'a@b', id: -1n, creation: 1 }],
    ['a bit string without bits', { type: 'bitstring', bytes: Uint8Array.of(1), bits: 0 }],
    ['an improper list without elements', { type: 'improper', elements: [], tail: 1 }],
    ['an export with an arity of 256', { type: 'export', module: 'm', function: 'f', arity: 256 }],
    ['an integer larger than the BEAM takes', 1n << 4_194_304n],
    ['a list that contains itself', selfContaining()],
  ]
  for (const [name, value] of noTerms) {
    test(`encode refuses ${name}`, () => {
      assert.throws(() => encode(value as Term), isEtfError)
    })
  }
})

suite('compressed terms', () => {
  const inner = encode(charlist('a'.repeat(1000))).subarray(1)

  test('are inflated, and the next term is found behind them', () => {
    const bytes = Buffer.concat([compressed(inner.length, inner), encode(atom('next'))])
    const { term, next } = decodeFrom(bytes, 0)
    assert.equal(textOf(term), 'a'.repeat(1000))
    assert.deepEqual(decodeFrom(bytes, next).term, atom('next'))
  })

  for (const [name, bytes] of [
    ['that are larger than they say', compressed(inner.length - 1, inner)],
    ['that are smaller than they say', compressed(inner.length + 1, inner)],
    ['that hold more than one term', compressed(inner.length + 1, Buffer.concat([inner, Uint8Array.of(106)]))],
    ['that say they inflate to 4 GiB', compressed(0xffffffff, inner)],
    ['whose zlib data are broken', compressed(inner.length, inner).fill(0x55, 8)],
    ['that end early', compressed(inner.length, inner).subarray(0, -6)],
    ['inside compressed terms', compressed(7, Buffer.from('50000000006101', 'hex'))],
  ] as const) {
    test(`${name} are refused`, () => {
      assert.throws(() => decode(bytes), isEtfError)
    })
  }
})

suite('helpers', () => {
  test('isAtom and isTuple look at the name and the size where one is given', () => {
    assert.ok(isAtom(atom('ok')) && isAtom(atom('ok'), 'ok') && !isAtom(atom('ok'), 'error') && !isAtom(undefined))
    assert.ok(isTuple(tuple(1)) && isTuple(tuple(1), 1) && !isTuple(tuple(1), 2) && !isTuple([1], 1))
  })

  test('isKind tells terms with a type apart, and no others', () => {
    assert.ok(isKind(pid, 'pid') && !isKind(pid, 'ref') && !isKind(new Map(), 'pid') && !isKind(5n, 'float'))
  })

  test('textOf reads binaries in UTF-8 and lists of code points, and nothing else', () => {
    assert.equal(textOf(binary('grüße 😀')), 'grüße 😀')
    assert.equal(textOf(charlist('grüße 😀')), 'grüße 😀')
    assert.equal(textOf([]), '')
    for (const term of [Uint8Array.of(0xff), [-1], [0x11_00_00], [1.5], [atom('a')], atom('a'), 1]) {
      assert.equal(textOf(term), undefined)
    }
  })
})

suite('hostile bytes', () => {
  test('200,000 mutated frames give a term or a clean error, and terms that encode again', () => {
    const random = generator(20_261_120)
    const seeds: Buffer[] = [...canonical, ...older]
      .map(([, , hex]) => Buffer.from(`83${hex}`, 'hex'))
      .filter(({ length }) => length < 2000)
    seeds.push(compressed(5, Buffer.from('6200000100', 'hex')), Buffer.from(encode(seeds.map((seed) => decode(seed)))))
    let refused = 0
    for (let round = 0; round < 200_000; round++) {
      const frame = mutate(seeds[random(seeds.length)] ?? Buffer.alloc(0), random)
      const before = Buffer.from(frame)
      try {
        const term = decode(frame)
        assert.deepEqual(encode(decode(encode(term))), encode(term))
      } catch (error) {
        if (!isEtfError(error)) throw new Error(`frame ${before.toString('hex')}`, { cause: error })
        refused++
      }
      assert.ok(frame.equals(before))
    }
    assert.ok(refused > 50_000 && refused < 195_000, `${refused} refused`)
  })

  test('nested headers that each announce all that is left allocate no more than the frame', () => {
    const LEVELS = 500
    const frame = Buffer.alloc(4_000_000, 106)
    frame[0] = 131
    for (let level = 0; level < LEVELS; level++) {
      frame[1 + level * 5] = 108
      frame.writeUInt32BE(frame.length - 10 - level * 5, 2 + level * 5)
    }
    frame[1 + LEVELS * 5] = 1
    const before = process.memoryUsage()
    for (let round = 0; round < 20; round++) assert.throws(() => decode(frame), isEtfError)
    const after = process.memoryUsage()
    const grown = after.heapTotal + after.external - before.heapTotal - before.external
    assert.ok(grown < 8 * frame.length, `${grown} bytes more`)
  })

  test('ever new atoms leave the memory as it is', () => {
    const before = heapAfterCollection()
    for (let index = 0; index < 300_000; index++)
      decode(Buffer.from(`\x83w\x14atom-${String(index).padStart(15, '0')}`, 'latin1'))
    const grown = heapAfterCollection() - before
    assert.ok(grown < 4_000_000, `${grown} bytes more`)
  })
})

/** Views and buffers as plain arrays of bytes, so that only their content is compared. */
function plain(term: Term): unknown {
  if (term instanceof Uint8Array) return Uint8Array.from(term)
  return isKind(term, 'fun') || isKind(term, 'bitstring') ? { ...term, bytes: Uint8Array.from(term.bytes) } : term
}

function isEtfError(error: unknown): boolean {
  return error instanceof RollcallError && error.code === 'etf' && /^\[etf\] expected .+, got .+/s.test(error.message)
}

function compressed(size: number, inner: Uint8Array): Buffer {
  const head = Buffer.from([131, 80, 0, 0, 0, 0])
  head.writeUInt32BE(size, 2)
  return Buffer.concat([head, deflateSync(inner)])
}

function selfContaining(): unknown[] {
  const list: unknown[] = [1]
  list.push(list, list)
  return list
}

/** Numbers below `limit`, the same ones in every run (xorshift32). */
function generator(seed: number): (limit: number) => number {
  let state = seed
  return (limit) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % limit
  }
}

// Fuzzing, 2026: copied level by level, 500 of them made 200 kB take 3 s.
test('lists in the tails of lists are one list, however many, and cost no level', () => {
  const part = Buffer.from('6c000000016101', 'hex')
  const tails = Buffer.alloc(10_000 * part.length, part)
  assert.deepEqual(
    decode(Buffer.concat([Buffer.of(131), tails, Buffer.of(106)])),
    Array.from({ length: 10_000 }, () => 1),
  )
  const improper = decode(Buffer.concat([Buffer.of(131), part, part, Buffer.of(97, 2)]))
  assert.deepEqual(improper, { type: 'improper', elements: [1, 1], tail: 2 })
})

const EDGES = [0, 1, 127, 128, 255, 70, 80, 88, 90, 97, 98, 104, 105, 106, 107, 108, 109, 110, 111, 112, 116, 119, 131]

function mutate(seed: Buffer, random: (limit: number) => number): Buffer {
  let frame = Buffer.from(seed)
  for (let changes = random(3); changes >= 0; changes--) {
    const at = random(frame.length + 1)
    const kind = random(5)
    if (kind === 0) frame = frame.subarray(0, at)
    else if (kind === 1) frame = Buffer.concat([frame, frame.subarray(at)])
    else if (at < frame.length) frame[at] = kind === 2 ? random(256) : (EDGES[random(EDGES.length)] ?? 0)
  }
  return frame
}

function heapAfterCollection(): number {
  gc()
  return process.memoryUsage().heapUsed
}
