import { bytesOf } from './target.ts'

export interface MutatorOptions {
  /** 0 to below 1, seeded. */
  readonly random: () => number
  readonly words: readonly (Uint8Array | string)[]
  readonly isJson: boolean
}

/** Makes another input of one, and of a second one to splice with. */
export type Mutate = (input: Uint8Array, other: Uint8Array) => Uint8Array

// Long enough for a field of 16 bits that lies about what follows, short enough for thousands in a second.
const MAX_BYTES = 70_000
const MAX_CHANGES = 6
const EDGES = [
  0,
  1,
  2,
  4,
  16,
  127,
  128,
  255,
  256,
  512,
  1_024,
  32_767,
  65_535,
  2 ** 24,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
]
const NUMBERS = ['0', '-1', '1', '65536', '4294967296', '1e308', '-1e308', '9007199254740993', '1e-300', '00', '0.5']
// Names that every object of JavaScript has, and texts that are none.
const NAMES = ['__proto__', 'constructor', 'toString', 'a@b', '@', '*', '', 'x', '\0', '\ud800', '${', '../..', 'é@ü']
const VALUES: readonly unknown[] = [null, true, 0, -1, 0.5, 1e308, 65_536, '', 'x', [], {}, [[]], [null]]

/** A seeded mutator: bits, integers, lengths, cuts, repeats, splices and words; and values of JSON where inputs are that. */
export function createMutator({ random, words, isJson }: MutatorOptions): Mutate {
  const below = (count: number) => Math.floor(random() * count)
  const pick = <Value>(values: readonly Value[]): Value | undefined => values[below(values.length)]

  function range(bytes: Buffer): [from: number, to: number] {
    const from = below(bytes.length + 1)
    // Short ones are as likely as long ones.
    return [from, Math.min(bytes.length, from + Math.floor(2 ** (random() * 12)))]
  }

  function replace(bytes: Buffer, [from, to]: readonly [number, number], by: Uint8Array): Buffer {
    return Buffer.concat([bytes.subarray(0, from), by, bytes.subarray(to)])
  }

  function putInteger(bytes: Buffer, value: number): Buffer {
    const width = pick([1, 2, 4]) ?? 1
    if (bytes.length < width) return bytes
    const changed = Buffer.from(bytes)
    changed.writeUIntBE(Math.abs(value) % 2 ** (8 * width), below(bytes.length - width + 1), width)
    return changed
  }

  const changes: readonly ((bytes: Buffer, other: Buffer) => Buffer)[] = [
    (bytes) => {
      const changed = Buffer.from(bytes)
      const at = below(bytes.length)
      changed[at] = (changed[at] ?? 0) ^ (1 << below(8))
      return changed
    },
    (bytes) => putInteger(bytes, below(256)),
    (bytes) => putInteger(bytes, pick(EDGES) ?? 0),
    // A length that is right, or nearly so, for the bytes that are left somewhere.
    (bytes) => putInteger(bytes, below(bytes.length + 1) + below(3) - 1),
    (bytes) => bytes.subarray(0, below(bytes.length + 1)),
    (bytes) => replace(bytes, range(bytes), Buffer.alloc(0)),
    (bytes) => {
      const [from, to] = range(bytes)
      const times = Math.min(Math.floor(2 ** (random() * 12)), Math.floor(MAX_BYTES / Math.max(1, to - from)))
      return replace(bytes, [to, to], Buffer.alloc((to - from) * times, bytes.subarray(from, to)))
    },
    (bytes) => {
      const [from, to] = range(bytes)
      const at = below(bytes.length + 1)
      return replace(bytes, [at, at], bytes.subarray(from, to))
    },
    (bytes, other) => replace(bytes, range(bytes), other.subarray(...range(other))),
    (bytes, other) =>
      Buffer.concat([bytes.subarray(0, below(bytes.length + 1)), other.subarray(below(other.length + 1))]),
    (bytes) => {
      const at = below(bytes.length + 1)
      return replace(bytes, random() < 0.5 ? [at, at] : range(bytes), bytesOf(pick(words) ?? ''))
    },
    (bytes) => {
      const text = bytes.toString('latin1')
      const numbers = [...text.matchAll(/-?\d+(\.\d+)?/g)]
      const found = pick(numbers)
      if (found === undefined) return bytes
      return replace(bytes, [found.index, found.index + found[0].length], Buffer.from(pick(NUMBERS) ?? '0'))
    },
  ]

  function changeBytes(bytes: Buffer, other: Buffer): Buffer {
    const change = pick(changes)
    return change === undefined ? bytes : change(bytes, other)
  }

  /** Another value of the same kind: what a schema lets through. */
  function alike(value: unknown): unknown {
    if (typeof value === 'number') return Number(pick(NUMBERS))
    if (typeof value === 'boolean') return !value
    if (typeof value === 'string') return Buffer.from(bytesOf(pick([...words, ...NAMES]) ?? '')).toString()
    if (Array.isArray(value)) return Array.from({ length: below(200) }, () => pick<unknown>(value) ?? pick(NAMES))
    if (typeof value !== 'object' || value === null) return pick(VALUES)
    const name = String(pick([...words, ...NAMES]))
    return withEntry(value, name, pick(Object.values(value)) ?? pick(VALUES))
  }

  /** Changes one value somewhere inside: into one alike, any other, one of the other input, none, or one that lies deeper. */
  function changeValue(value: unknown, other: unknown): unknown {
    const key = typeof value === 'object' && value !== null ? pick(Object.keys(value)) : undefined
    if (key !== undefined && random() < 0.9) {
      const inside: unknown = Object.getOwnPropertyDescriptor(value, key)?.value
      const inOther: unknown = Object.getOwnPropertyDescriptor(Object(other), key)?.value
      return withEntry(Object(value), key, changeValue(inside, inOther ?? other))
    }
    const chance = random()
    if (chance < 0.7) return alike(value)
    if (chance < 0.8) return undefined
    if (chance < 0.9) return other
    return pick([[value], { [String(pick(NAMES))]: value }, ...VALUES])
  }

  return (input, other) => {
    let bytes: Buffer = Buffer.from(input)
    const second = Buffer.from(other)
    const asJson = isJson && random() < 0.8 ? parse(bytes) : undefined
    if (asJson !== undefined) {
      let { value } = asJson
      const another = parse(second)?.value
      for (let left = 1 + below(MAX_CHANGES); left > 0; left--) value = changeValue(value, another)
      return Buffer.from(JSON.stringify(value) ?? '').subarray(0, 4 * MAX_BYTES)
    }
    for (let left = 1 + below(MAX_CHANGES); left > 0; left--) bytes = changeBytes(bytes, second)
    return bytes.subarray(0, MAX_BYTES)
  }
}

function parse(bytes: Buffer): { value: unknown } | undefined {
  try {
    return { value: JSON.parse(bytes.toString()) }
  } catch {
    return undefined
  }
}

/** A copy with another entry; without it where the value is undefined. `__proto__` is a key as any other. */
function withEntry(value: object, key: string, entry: unknown): unknown {
  if (Array.isArray(value))
    return entry === undefined ? value.toSpliced(Number(key), 1) : value.with(Number(key), entry)
  const entries = Object.entries(value).filter(([other]) => other !== key)
  return Object.fromEntries(entry === undefined ? entries : [...entries, [key, entry]])
}
