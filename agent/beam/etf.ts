import { isUtf8 } from 'node:buffer'
import { inflateSync } from 'node:zlib'
import { RollcallError } from '../../core/error.ts'

/** A term of the external term format, as the codec gives and takes it: list = array, binary = Uint8Array, integer = number or bigint. */
export type Term = number | bigint | Uint8Array | Term[] | Map<Term, Term> | Kind
/** The terms that JavaScript has no value for, told apart by `type`. */
export type Kind = Atom | Tuple | Pid | Ref | Port | Fun | Export | BitString | Float | ImproperList
export interface Atom {
  readonly type: 'atom'
  readonly name: string
}
export interface Tuple {
  readonly type: 'tuple'
  readonly elements: readonly Term[]
}
export interface Pid {
  readonly type: 'pid'
  readonly node: string
  readonly id: number
  readonly serial: number
  readonly creation: number
}
export interface Ref {
  readonly type: 'ref'
  readonly node: string
  readonly creation: number
  readonly words: readonly number[]
}
export interface Port {
  readonly type: 'port'
  readonly node: string
  readonly id: bigint
  readonly creation: number
}
/** Kept as its bytes and given back as they were. */
export interface Fun {
  readonly type: 'fun'
  readonly bytes: Uint8Array
}
export interface Export {
  readonly type: 'export'
  readonly module: string
  readonly function: string
  readonly arity: number
}
export interface BitString {
  readonly type: 'bitstring'
  readonly bytes: Uint8Array
  readonly bits: number
}
/** A number that must stay a float on the wire, 1.0 say. */
export interface Float {
  readonly type: 'float'
  readonly value: number
}
export interface ImproperList {
  readonly type: 'improper'
  readonly elements: readonly Term[]
  readonly tail: Term
}

// Tags and their names: https://www.erlang.org/doc/apps/erts/erl_ext_dist.html
const VERSION = 131
const COMPRESSED = 80
const SMALL_INTEGER_EXT = 97
const INTEGER_EXT = 98
const SMALL_BIG_EXT = 110
const LARGE_BIG_EXT = 111
const NEW_FLOAT_EXT = 70
const FLOAT_EXT = 99
const SMALL_ATOM_UTF8_EXT = 119
const ATOM_UTF8_EXT = 118
const ATOM_EXT = 100
const SMALL_ATOM_EXT = 115
const SMALL_TUPLE_EXT = 104
const LARGE_TUPLE_EXT = 105
const NIL_EXT = 106
const STRING_EXT = 107
const LIST_EXT = 108
const BINARY_EXT = 109
const BIT_BINARY_EXT = 77
const MAP_EXT = 116
const NEW_PID_EXT = 88
const PID_EXT = 103
const NEWER_REFERENCE_EXT = 90
const NEW_REFERENCE_EXT = 114
const V4_PORT_EXT = 120
const NEW_PORT_EXT = 89
const PORT_EXT = 102
const EXPORT_EXT = 113
const NEW_FUN_EXT = 112

// Deeper than terms of people and of erl_parse get, and far from the end of the JavaScript stack.
const MAX_DEPTH = 512
// The BEAM's own limit for an atom, in characters.
const MAX_ATOM_CHARACTERS = 255
// The BEAM's own limit for an integer since OTP 26, in bytes (4,194,303 bits).
const MAX_INTEGER_BYTES = 524_288
// The BEAM's own limit for the words of a reference.
const MAX_REFERENCE_WORDS = 5
// The distribution never compresses; what does come compressed (a gossip packet, say) is small. One byte can become some 40 in memory.
const MAX_INFLATED_BYTES = 1_048_576
// Ports up to 28 bits have the older tag, as the BEAM writes them.
const MAX_SHORT_PORT = 0xf_ff_ff_ffn

/** The atom of this name; `true`, `false`, `undefined` and `nil` are atoms too. */
export function atom(name: string): Atom {
  return { type: 'atom', name }
}

/** A tuple of these elements. */
export function tuple(...elements: Term[]): Tuple {
  return { type: 'tuple', elements }
}

/** A binary with the text in UTF-8: what Elixir calls a string. */
export function binary(text: string): Uint8Array {
  return textEncoder.encode(text)
}

/** A list of the text's code points: what Erlang calls a string. */
export function charlist(text: string): number[] {
  return Array.from(text, (character) => character.codePointAt(0) ?? 0)
}

/** Whether the term is the atom `name`, or any atom where no name is given. */
export function isAtom(term: Term | undefined, name?: string): term is Atom {
  return isKind(term, 'atom') && (name === undefined || term.name === name)
}

/** Whether the term is a tuple of `size` elements, or of any number where no size is given. */
export function isTuple(term: Term | undefined, size?: number): term is Tuple {
  return isKind(term, 'tuple') && (size === undefined || term.elements.length === size)
}

/** Whether the term is of a kind that has a `type`: a pid, a ref, a float … */
export function isKind<Type extends Kind['type']>(
  term: Term | undefined,
  type: Type,
): term is Extract<Kind, { type: Type }> {
  return typeof term === 'object' && 'type' in term && term.type === type
}

/** The text of a binary in UTF-8 or of a list of code points; undefined where the term is neither. */
export function textOf(term: Term | undefined): string | undefined {
  if (term instanceof Uint8Array) return isUtf8(term) ? textDecoder.decode(term) : undefined
  if (!Array.isArray(term) || !term.every(isCodePoint)) return undefined
  return term.map((codePoint) => String.fromCodePoint(codePoint)).join('')
}

function isCodePoint(term: Term): term is number {
  return typeof term === 'number' && term >= 0 && term <= 0x10ffff && Number.isInteger(term)
}

const textEncoder = new TextEncoder()
// Without ignoreBOM a leading U+FEFF would vanish from the text.
const textDecoder = new TextDecoder('utf-8', { ignoreBOM: true })

// ---- encode ----

interface Writer {
  bytes: Uint8Array
  view: DataView
  at: number
}

const SCRATCH_BYTES = 16_384
// One scratch for all calls: encoding is synchronous and calls nobody.
const scratch: Writer = newWriter()

function newWriter(): Writer {
  const bytes = new Uint8Array(SCRATCH_BYTES)
  return { bytes, view: new DataView(bytes.buffer), at: 0 }
}

/**
 * One term in the external term format, version byte first. A number must be a safe integer or have a fraction; whole
 * floats are a {@link Float}, larger integers a bigint. Throws `etf` on what is no term, and on one nested deeper than 512.
 */
export function encode(term: Term): Uint8Array {
  scratch.at = 0
  putByte(scratch, VERSION)
  writeTerm(scratch, term, 0)
  const encoded = scratch.bytes.slice(0, scratch.at)
  if (scratch.bytes.length > 64 * SCRATCH_BYTES) Object.assign(scratch, newWriter())
  return encoded
}

function writeTerm(writer: Writer, term: Term, depth: number): void {
  if (depth > MAX_DEPTH) throw unencodable(`at most ${MAX_DEPTH} levels`, 'more')
  if (typeof term === 'number') return writeNumber(writer, term)
  if (typeof term === 'bigint') return writeBigint(writer, term)
  if (term === null || typeof term !== 'object') throw unencodable('a term (text is an atom or a binary)', typeof term)
  if (Array.isArray(term)) return writeList(writer, term, depth)
  if (term instanceof Uint8Array) return writeBinary(writer, term)
  if (term instanceof Map) return writeMap(writer, term, depth)
  writeKind(writer, term, depth)
}

function writeKind(writer: Writer, term: Kind, depth: number): void {
  switch (term.type) {
    case 'atom':
      return writeAtom(writer, term.name)
    case 'tuple':
      return writeTuple(writer, term.elements, depth)
    case 'float':
      return writeFloat(writer, term.value)
    case 'pid':
      putByte(writer, NEW_PID_EXT)
      writeAtom(writer, term.node)
      putWord(writer, term.id)
      putWord(writer, term.serial)
      return putWord(writer, term.creation)
    case 'ref':
      return writeRef(writer, term)
    case 'port':
      return writePort(writer, term)
    case 'fun':
      return putBytes(writer, term.bytes)
    case 'export':
      putByte(writer, EXPORT_EXT)
      writeAtom(writer, term.module)
      writeAtom(writer, term.function)
      return writeArity(writer, term.arity)
    case 'bitstring':
      return writeBitString(writer, term)
    case 'improper':
      if (term.elements.length === 0) throw unencodable('an element before the tail of an improper list', 'none')
      writeElements(writer, term.elements, depth)
      return writeTerm(writer, term.tail, depth + 1)
    default:
      throw unencodable('a term', 'an object that is none')
  }
}

function writeNumber(writer: Writer, value: number): void {
  if (!Number.isSafeInteger(value)) {
    if (Number.isInteger(value)) throw unencodable('a bigint or a Float beyond the safe integers', String(value))
    return writeFloat(writer, value)
  }
  if (value >= 0 && value < 256) {
    const at = reserve(writer, 2)
    writer.view.setUint8(at, SMALL_INTEGER_EXT)
    writer.view.setUint8(at + 1, value)
    return
  }
  if (value === (value | 0)) {
    const at = reserve(writer, 5)
    writer.view.setUint8(at, INTEGER_EXT)
    writer.view.setInt32(at + 1, value)
    return
  }
  putByte(writer, SMALL_BIG_EXT)
  const sizeAt = reserve(writer, 2)
  writer.view.setUint8(sizeAt + 1, value < 0 ? 1 : 0)
  let rest = Math.abs(value)
  for (; rest > 0; rest = Math.floor(rest / 256)) putByte(writer, rest % 256)
  writer.view.setUint8(sizeAt, writer.at - sizeAt - 2)
}

function writeBigint(writer: Writer, value: bigint): void {
  if (value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER) return writeNumber(writer, Number(value))
  const hex = (value < 0n ? -value : value).toString(16)
  const magnitude = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex').reverse()
  if (magnitude.length > MAX_INTEGER_BYTES) {
    throw unencodable(`an integer of at most ${MAX_INTEGER_BYTES} bytes`, String(magnitude.length))
  }
  if (magnitude.length < 256) {
    putByte(writer, SMALL_BIG_EXT)
    putByte(writer, magnitude.length)
  } else {
    putByte(writer, LARGE_BIG_EXT)
    putWord(writer, magnitude.length)
  }
  putByte(writer, value < 0n ? 1 : 0)
  putBytes(writer, magnitude)
}

function writeFloat(writer: Writer, value: number): void {
  if (!Number.isFinite(value)) throw unencodable('a finite float', String(value))
  const at = reserve(writer, 9)
  writer.view.setUint8(at, NEW_FLOAT_EXT)
  writer.view.setFloat64(at + 1, value)
}

function writeAtom(writer: Writer, name: string): void {
  const length = name.length
  if (length > MAX_ATOM_CHARACTERS) return writeLongAtom(writer, name)
  const start = writer.at
  const at = reserve(writer, 2 + length)
  for (let index = 0; index < length; index++) {
    const code = name.charCodeAt(index)
    if (code > 127) {
      writer.at = start
      return writeLongAtom(writer, name)
    }
    writer.view.setUint8(at + 2 + index, code)
  }
  writer.view.setUint8(at, SMALL_ATOM_UTF8_EXT)
  writer.view.setUint8(at + 1, length)
}

function writeLongAtom(writer: Writer, name: string): void {
  const characters = Array.from(name).length
  if (characters > MAX_ATOM_CHARACTERS || !name.isWellFormed()) {
    throw unencodable(`an atom of at most ${MAX_ATOM_CHARACTERS} characters of Unicode`, `${characters} UTF-16 ones`)
  }
  const bytes = textEncoder.encode(name)
  if (bytes.length < 256) {
    putByte(writer, SMALL_ATOM_UTF8_EXT)
    putByte(writer, bytes.length)
  } else {
    putByte(writer, ATOM_UTF8_EXT)
    putShort(writer, bytes.length)
  }
  putBytes(writer, bytes)
}

function writeTuple(writer: Writer, elements: readonly Term[], depth: number): void {
  if (elements.length < 256) {
    putByte(writer, SMALL_TUPLE_EXT)
    putByte(writer, elements.length)
  } else {
    putByte(writer, LARGE_TUPLE_EXT)
    putWord(writer, elements.length)
  }
  for (const element of elements) writeTerm(writer, element, depth + 1)
}

function writeList(writer: Writer, list: readonly Term[], depth: number): void {
  if (list.length === 0) return putByte(writer, NIL_EXT)
  if (list.length <= 0xff_ff && list.every(isByte)) {
    const at = reserve(writer, 3 + list.length)
    writer.view.setUint8(at, STRING_EXT)
    writer.view.setUint16(at + 1, list.length)
    return writer.bytes.set(list, at + 3)
  }
  writeElements(writer, list, depth)
  putByte(writer, NIL_EXT)
}

function isByte(term: Term): term is number {
  return typeof term === 'number' && (term & 255) === term
}

function writeElements(writer: Writer, elements: readonly Term[], depth: number): void {
  putByte(writer, LIST_EXT)
  putWord(writer, elements.length)
  for (const element of elements) writeTerm(writer, element, depth + 1)
}

function writeMap(writer: Writer, map: ReadonlyMap<Term, Term>, depth: number): void {
  putByte(writer, MAP_EXT)
  putWord(writer, map.size)
  for (const [key, value] of map) {
    writeTerm(writer, key, depth + 1)
    writeTerm(writer, value, depth + 1)
  }
}

function writeBinary(writer: Writer, bytes: Uint8Array): void {
  putByte(writer, BINARY_EXT)
  putWord(writer, bytes.length)
  putBytes(writer, bytes)
}

function writeBitString(writer: Writer, { bytes, bits }: BitString): void {
  if (bytes.length === 0 || !Number.isInteger(bits) || bits < 1 || bits > 8) {
    throw unencodable('bytes and 1 to 8 bits in the last', `${bytes.length} and ${bits}`)
  }
  putByte(writer, BIT_BINARY_EXT)
  putWord(writer, bytes.length)
  putByte(writer, bits)
  putBytes(writer, bytes)
}

function writeRef(writer: Writer, ref: Ref): void {
  if (ref.words.length === 0 || ref.words.length > MAX_REFERENCE_WORDS) {
    throw unencodable(`1 to ${MAX_REFERENCE_WORDS} words of a reference`, String(ref.words.length))
  }
  putByte(writer, NEWER_REFERENCE_EXT)
  putShort(writer, ref.words.length)
  writeAtom(writer, ref.node)
  putWord(writer, ref.creation)
  for (const word of ref.words) putWord(writer, word)
}

function writePort(writer: Writer, port: Port): void {
  if (port.id < 0n || port.id >= 1n << 64n) throw unencodable('a port id of 64 bits', String(port.id))
  const short = port.id <= MAX_SHORT_PORT
  putByte(writer, short ? NEW_PORT_EXT : V4_PORT_EXT)
  writeAtom(writer, port.node)
  if (short) putWord(writer, Number(port.id))
  else writer.view.setBigUint64(reserve(writer, 8), port.id)
  putWord(writer, port.creation)
}

function writeArity(writer: Writer, arity: number): void {
  if (!isByte(arity)) throw unencodable('an arity of 0 to 255', String(arity))
  writeNumber(writer, arity)
}

/** Makes room for `count` bytes and returns where they begin. */
function reserve(writer: Writer, count: number): number {
  const at = writer.at
  writer.at = at + count
  if (writer.at > writer.bytes.length) grow(writer)
  return at
}

function grow(writer: Writer): void {
  const grown = new Uint8Array(Math.max(writer.at, writer.bytes.length * 2))
  grown.set(writer.bytes)
  writer.bytes = grown
  writer.view = new DataView(grown.buffer)
}

function putByte(writer: Writer, value: number): void {
  const at = reserve(writer, 1)
  writer.view.setUint8(at, value)
}

function putShort(writer: Writer, value: number): void {
  const at = reserve(writer, 2)
  writer.view.setUint16(at, value)
}

function putWord(writer: Writer, value: number): void {
  if (value !== value >>> 0) throw unencodable('an unsigned integer of 32 bits', String(value))
  const at = reserve(writer, 4)
  writer.view.setUint32(at, value)
}

function putBytes(writer: Writer, bytes: Uint8Array): void {
  const at = reserve(writer, bytes.length)
  writer.bytes.set(bytes, at)
}

function unencodable(expected: string, got: string): RollcallError {
  return new RollcallError('etf', `[etf] expected ${expected} to encode, got ${got}`)
}

// ---- decode ----

interface Reader {
  readonly bytes: Uint8Array
  readonly view: DataView
  at: number
}

/** The term of these bytes, which must be exactly one; `etf` when they are not. See {@link decodeFrom}. */
export function decode(bytes: Uint8Array): Term {
  const { term, next } = decodeFrom(bytes, 0)
  if (next !== bytes.length) throw malformed(next, 'the end of the term', `${bytes.length - next} more bytes`)
  return term
}

/**
 * The versioned term that begins at `offset`, and where the next one would. Binaries are copies, so the bytes may be
 * reused. Integers are numbers where these are exact, else bigints; floats are always a {@link Float}. Throws `etf` on
 * anything malformed, on nesting deeper than 512 and on what inflates to more than 1 MiB; what it allocates stays in
 * proportion to the bytes.
 */
export function decodeFrom(bytes: Uint8Array, offset: number): { term: Term; next: number } {
  const reader = newReader(bytes, offset)
  const version = readByte(reader)
  if (version !== VERSION) throw malformed(offset, `version ${VERSION}`, String(version))
  const term = bytes[reader.at] === COMPRESSED ? readCompressed(reader) : readTerm(reader, 0)
  return { term, next: reader.at }
}

function newReader(bytes: Uint8Array, at: number): Reader {
  // A Buffer's slice would be a view on the caller's memory: a plain Uint8Array copies.
  const plain = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return { bytes: plain, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), at }
}

function readTerm(reader: Reader, depth: number): Term {
  if (depth > MAX_DEPTH) throw malformed(reader.at, `at most ${MAX_DEPTH} levels`, 'more')
  const tag = readByte(reader)
  switch (tag) {
    case SMALL_INTEGER_EXT:
      return readByte(reader)
    case INTEGER_EXT:
      return reader.view.getInt32(take(reader, 4))
    case SMALL_ATOM_UTF8_EXT:
    case ATOM_UTF8_EXT:
    case ATOM_EXT:
    case SMALL_ATOM_EXT:
      return readAtomBody(reader, tag)
    case SMALL_TUPLE_EXT:
      return { type: 'tuple', elements: readElements(reader, readByte(reader), depth) }
    case LARGE_TUPLE_EXT:
      return { type: 'tuple', elements: readElements(reader, readWord(reader), depth) }
    case NIL_EXT:
      return []
    case STRING_EXT:
      return Array.from(readBytes(reader, readShort(reader)))
    case LIST_EXT:
      return readList(reader, depth)
    case BINARY_EXT:
      return readBytes(reader, readWord(reader))
    case MAP_EXT:
      return readMap(reader, depth)
    case NEW_PID_EXT:
    case PID_EXT:
      return readPid(reader, tag)
    case NEWER_REFERENCE_EXT:
    case NEW_REFERENCE_EXT:
      return readRef(reader, tag)
    case V4_PORT_EXT:
    case NEW_PORT_EXT:
    case PORT_EXT:
      return readPort(reader, tag)
    case SMALL_BIG_EXT:
      return readBig(reader, readByte(reader))
    case LARGE_BIG_EXT:
      return readBig(reader, readWord(reader))
    case NEW_FLOAT_EXT:
      return readFloat(reader)
    case FLOAT_EXT:
      return readFloatText(reader)
    case BIT_BINARY_EXT:
      return readBitString(reader)
    case EXPORT_EXT:
      return readExport(reader)
    case NEW_FUN_EXT:
      return readFun(reader, depth)
    default:
      throw malformed(reader.at - 1, 'the tag of a term', String(tag))
  }
}

/** No array is made in its announced size: nested headers could each announce all that is left. */
function readElements(reader: Reader, count: number, depth: number): Term[] {
  expectAtLeast(reader, count)
  const elements: Term[] = []
  for (let index = 0; index < count; index++) elements.push(readTerm(reader, depth + 1))
  return elements
}

function readList(reader: Reader, depth: number): Term {
  const from = reader.at
  const elements = readElements(reader, readWord(reader), depth)
  const tail = readTerm(reader, depth + 1)
  if (Array.isArray(tail)) {
    for (const element of tail) elements.push(element)
    return elements
  }
  if (elements.length === 0) throw malformed(from, 'an element before the tail of an improper list', 'none')
  return { type: 'improper', elements, tail }
}

function readMap(reader: Reader, depth: number): Map<Term, Term> {
  const from = reader.at
  const count = readWord(reader)
  expectAtLeast(reader, 2 * count)
  const map = new Map<Term, Term>()
  for (let index = 0; index < count; index++) {
    const key = readTerm(reader, depth + 1)
    map.set(key, readTerm(reader, depth + 1))
  }
  if (map.size !== count) throw malformed(from, `${count} different keys`, String(map.size))
  return map
}

function readBig(reader: Reader, size: number): number | bigint {
  if (size > MAX_INTEGER_BYTES) {
    throw malformed(reader.at, `an integer of at most ${MAX_INTEGER_BYTES} bytes`, String(size))
  }
  const negative = readByte(reader) !== 0
  const from = take(reader, size)
  let value = 0
  // Rounding never brings a sum of 2^53 or more below it, so that a safe result is an exact one.
  for (let index = Math.min(size, 8) - 1; index >= 0; index--) value = value * 256 + reader.view.getUint8(from + index)
  if (size <= 8 && Number.isSafeInteger(value)) return negative ? 0 - value : value
  const hex = Buffer.from(reader.bytes.subarray(from, from + size))
    .reverse()
    .toString('hex')
  const exact = BigInt(`0x${hex}`)
  if (exact <= Number.MAX_SAFE_INTEGER) return negative ? 0 - Number(exact) : Number(exact)
  return negative ? -exact : exact
}

function readFloat(reader: Reader): Float {
  const from = take(reader, 8)
  const value = reader.view.getFloat64(from)
  if (!Number.isFinite(value)) throw malformed(from, 'a finite float', String(value))
  return { type: 'float', value }
}

/** Floats of before OTP R11 with minor version 0: `%.20e`, filled with zeros to 31 bytes. */
function readFloatText(reader: Reader): Float {
  const from = reader.at
  const text = String.fromCharCode(...readBytes(reader, 31)).replace(/\0.*$/s, '')
  const value = Number(text)
  if (!/^ *-?\d+\.\d+(e[+-]?\d+)?$/.test(text) || !Number.isFinite(value)) {
    throw malformed(from, 'a finite float in decimals', JSON.stringify(text))
  }
  return { type: 'float', value }
}

function readBitString(reader: Reader): BitString | Uint8Array {
  const size = readWord(reader)
  const bits = readByte(reader)
  if (bits > 8 || (bits === 0) !== (size === 0)) {
    throw malformed(reader.at - 1, 'bytes and 1 to 8 bits in the last', `${size} and ${bits}`)
  }
  const bytes = readBytes(reader, size)
  return bits === 8 || size === 0 ? bytes : { type: 'bitstring', bytes, bits }
}

function readPid(reader: Reader, tag: number): Pid {
  const node = readAtom(reader).name
  const id = readWord(reader)
  const serial = readWord(reader)
  return { type: 'pid', node, id, serial, creation: tag === PID_EXT ? readByte(reader) : readWord(reader) }
}

function readRef(reader: Reader, tag: number): Ref {
  const count = readShort(reader)
  if (count === 0 || count > MAX_REFERENCE_WORDS) {
    throw malformed(reader.at - 2, `1 to ${MAX_REFERENCE_WORDS} words of a reference`, String(count))
  }
  const node = readAtom(reader).name
  const creation = tag === NEW_REFERENCE_EXT ? readByte(reader) : readWord(reader)
  const words: number[] = []
  for (let index = 0; index < count; index++) words.push(readWord(reader))
  return { type: 'ref', node, creation, words }
}

function readPort(reader: Reader, tag: number): Port {
  const node = readAtom(reader).name
  const id = tag === V4_PORT_EXT ? reader.view.getBigUint64(take(reader, 8)) : BigInt(readWord(reader))
  return { type: 'port', node, id, creation: tag === PORT_EXT ? readByte(reader) : readWord(reader) }
}

function readExport(reader: Reader): Export {
  const module = readAtom(reader).name
  const name = readAtom(reader).name
  const tag = readByte(reader)
  if (tag !== SMALL_INTEGER_EXT) throw malformed(reader.at - 1, 'the arity of an export', `tag ${tag}`)
  return { type: 'export', module, function: name, arity: readByte(reader) }
}

/** A fun is kept as bytes, but read through once: a broken one, given back, would cost us the connection. */
function readFun(reader: Reader, depth: number): Fun {
  const from = reader.at - 1
  const size = readWord(reader)
  expectAtLeast(reader, size - 4)
  const FIXED_FIELDS = 1 + 16 + 4 // arity, uniq, index
  take(reader, FIXED_FIELDS)
  const freeVariables = readWord(reader)
  const TERM_FIELDS = 4 // module, old index, old uniq, pid
  readElements(reader, TERM_FIELDS + freeVariables, depth)
  if (reader.at !== from + 1 + size) throw malformed(from, `a fun of ${size} bytes`, String(reader.at - from - 1))
  return { type: 'fun', bytes: reader.bytes.slice(from, reader.at) }
}

/** https://www.erlang.org/doc/apps/erts/erl_ext_dist.html#compressed-term */
function readCompressed(reader: Reader): Term {
  const from = take(reader, 1)
  const size = readWord(reader)
  if (size > MAX_INFLATED_BYTES) {
    throw malformed(from, `a term that inflates to at most ${MAX_INFLATED_BYTES} bytes`, String(size))
  }
  const { buffer, engine } = inflate(reader, size)
  take(reader, engine.bytesWritten)
  const inner = newReader(buffer, 0)
  const term = readTerm(inner, 0)
  if (buffer.length !== size || inner.at !== size) {
    throw malformed(from, `a term of ${size} bytes after inflating`, `${inner.at} of ${buffer.length}`)
  }
  return term
}

function inflate(reader: Reader, size: number): { buffer: Buffer; engine: { bytesWritten: number } } {
  try {
    // With `info` the answer has the engine too, which knows where the compressed bytes end; the types do not say so.
    const answer: unknown = inflateSync(reader.bytes.subarray(reader.at), {
      maxOutputLength: Math.max(size, 1),
      info: true,
    })
    return answer as ReturnType<typeof inflate>
  } catch (cause) {
    throw malformed(
      reader.at,
      `zlib data of ${size} bytes`,
      cause instanceof Error ? cause.message : String(cause),
      cause,
    )
  }
}

function readAtom(reader: Reader): Atom {
  return readAtomBody(reader, readByte(reader))
}

function readAtomBody(reader: Reader, tag: number): Atom {
  switch (tag) {
    case SMALL_ATOM_UTF8_EXT:
      return readAtomText(reader, readByte(reader), true)
    case ATOM_UTF8_EXT:
      return readAtomText(reader, readShort(reader), true)
    case SMALL_ATOM_EXT:
      return readAtomText(reader, readByte(reader), false)
    case ATOM_EXT:
      return readAtomText(reader, readShort(reader), false)
    default:
      throw malformed(reader.at - 1, 'an atom', `tag ${tag}`)
  }
}

// The last atom of each hash: most that come are the same few, and a peer that sends ever new ones fills no memory.
const seenAtoms: (Atom | undefined)[] = Array.from({ length: 1024 }, () => undefined)

function readAtomText(reader: Reader, size: number, utf8: boolean): Atom {
  const from = take(reader, size)
  let hash = size
  let all = 0
  for (let index = from; index < from + size; index++) {
    const byte = reader.view.getUint8(index)
    hash = (hash * 31 + byte) | 0
    all |= byte
  }
  const ascii = all < 128
  const slot = hash & 1023
  const seen = seenAtoms[slot]
  if (ascii && seen !== undefined && isNameAt(reader, from, size, seen.name)) return seen
  const name = atomName(reader, from, size, utf8 && !ascii)
  const made: Atom = { type: 'atom', name }
  if (ascii) seenAtoms[slot] = made
  return made
}

function isNameAt(reader: Reader, from: number, size: number, name: string): boolean {
  if (name.length !== size) return false
  for (let index = 0; index < size; index++) {
    if (name.charCodeAt(index) !== reader.view.getUint8(from + index)) return false
  }
  return true
}

function atomName(reader: Reader, from: number, size: number, utf8: boolean): string {
  const bytes = reader.bytes.subarray(from, from + size)
  if (utf8 && !isUtf8(bytes)) throw malformed(from, 'an atom in UTF-8', 'other bytes')
  const characters = utf8 ? Array.from(textDecoder.decode(bytes)).length : size
  if (characters > MAX_ATOM_CHARACTERS) {
    throw malformed(from, `an atom of at most ${MAX_ATOM_CHARACTERS} characters`, String(characters))
  }
  return utf8 ? textDecoder.decode(bytes) : String.fromCharCode(...bytes)
}

/** Steps over `count` bytes and returns where they begin; throws when there are not so many left. */
function take(reader: Reader, count: number): number {
  const from = reader.at
  if (count > reader.bytes.length - from) {
    throw malformed(from, `${count} more bytes`, String(reader.bytes.length - from))
  }
  reader.at = from + count
  return from
}

/** Every element takes at least one byte: a count beyond what is left is a lie, and is not begun. */
function expectAtLeast(reader: Reader, count: number): void {
  const left = reader.bytes.length - reader.at
  if (count > left) throw malformed(reader.at, `at least ${count} more bytes`, String(left))
}

function readByte(reader: Reader): number {
  return reader.view.getUint8(take(reader, 1))
}

function readShort(reader: Reader): number {
  return reader.view.getUint16(take(reader, 2))
}

function readWord(reader: Reader): number {
  return reader.view.getUint32(take(reader, 4))
}

function readBytes(reader: Reader, size: number): Uint8Array {
  const from = take(reader, size)
  return reader.bytes.slice(from, from + size)
}

function malformed(at: number, expected: string, got: string, cause?: unknown): RollcallError {
  return new RollcallError('etf', `[etf] expected ${expected} at byte ${at}, got ${got}`, { cause })
}
