import { isUtf8 } from 'node:buffer'
import { inflateSync } from 'node:zlib'
import {
  ATOM_EXT,
  ATOM_UTF8_EXT,
  readAtom,
  readAtomBody,
  SMALL_ATOM_EXT,
  SMALL_ATOM_UTF8_EXT,
  writeAtom,
} from './etf-atom.ts'
import {
  endPiece,
  expectLeft,
  malformed,
  newReader,
  newWriter,
  putByte,
  putBytes,
  putShort,
  putWord,
  type Reader,
  readByte,
  readBytes,
  readShort,
  readWord,
  reserve,
  startPiece,
  take,
  unencodable,
  type Writer,
} from './etf-bytes.ts'

/** A term of the external term format, as the codec gives and takes it: list = array, binary = Uint8Array, integer = number or bigint. */
export type Term = number | bigint | Uint8Array | Term[] | Map<Term, Term> | Kind
/** The terms that JavaScript has no value for, told apart by `type`. */
export type Kind = Atom | Tuple | Pid | Ref | Port | Fun | Export | BitString | Float | ImproperList
/** A name; booleans and `undefined` are atoms too. */
export interface Atom {
  readonly type: 'atom'
  readonly name: string
}
/** A sequence of fixed size: `{a, b}`. */
export interface Tuple {
  readonly type: 'tuple'
  readonly elements: readonly Term[]
}
/** A process; `creation` tells the starts of its node apart. */
export interface Pid {
  readonly type: 'pid'
  readonly node: string
  readonly id: number
  readonly serial: number
  readonly creation: number
}
/** A unique reference: of a call, a monitor or an alias. */
export interface Ref {
  readonly type: 'ref'
  readonly node: string
  readonly creation: number
  readonly words: readonly number[]
}
/** A port of the BEAM, its link to the world outside. */
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
/** An external fun: `fun lists:map/2`. */
export interface Export {
  readonly type: 'export'
  readonly module: string
  readonly function: string
  readonly arity: number
}
/** A binary whose last byte counts only with its upper `bits`. */
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
/** A list that ends in something else than the empty list: `[a | b]`. */
export interface ImproperList {
  readonly type: 'improper'
  readonly elements: readonly Term[]
  readonly tail: Term
}

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

// The tags under their names in https://www.erlang.org/doc/apps/erts/erl_ext_dist.html
const VERSION = 131
const COMPRESSED = 80
const SMALL_INTEGER_EXT = 97
const INTEGER_EXT = 98
const SMALL_BIG_EXT = 110
const LARGE_BIG_EXT = 111
const NEW_FLOAT_EXT = 70
const FLOAT_EXT = 99
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

// Deeper than the terms of people get, and far from the end of the JavaScript stack.
const MAX_DEPTH = 512
// What is sent compressed (a gossip packet, say) is small, and each byte of it can become some 40 in memory.
const MAX_INFLATED_BYTES = 1_048_576
// The BEAM's own limits: words of a reference, bytes of an integer (since OTP 26).
const MAX_REFERENCE_WORDS = 5
const MAX_INTEGER_BYTES = 524_288

const output = newWriter()

/**
 * One term in the external term format, version byte first. A number must be a safe integer or have a fraction: a whole
 * float is a {@link Float}, a larger integer a bigint. Throws `etf` on what is no term or is nested deeper than 512.
 */
export function encode(term: Term): Uint8Array {
  startPiece(output)
  putByte(output, VERSION)
  writeTerm(output, term, 0)
  return endPiece(output)
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
      putSize(writer, SMALL_TUPLE_EXT, LARGE_TUPLE_EXT, term.elements.length)
      return writeElements(writer, term.elements, depth)
    case 'pid':
      return writePid(writer, term)
    case 'ref':
      return writeRef(writer, term)
    case 'port':
      return writePort(writer, term)
    case 'float':
      return writeFloat(writer, term.value)
    case 'improper':
      return writeImproperList(writer, term, depth)
    case 'bitstring':
      return writeBitString(writer, term)
    case 'export':
      return writeExport(writer, term)
    case 'fun':
      return putBytes(writer, term.bytes)
    default:
      throw unencodable('a term', 'an object that is none')
  }
}

function writeNumber(writer: Writer, value: number): void {
  if (isByte(value)) {
    const at = reserve(writer, 2)
    writer.view.setUint8(at, SMALL_INTEGER_EXT)
    return writer.view.setUint8(at + 1, value)
  }
  if (value === (value | 0)) {
    const at = reserve(writer, 5)
    writer.view.setUint8(at, INTEGER_EXT)
    return writer.view.setInt32(at + 1, value)
  }
  if (!Number.isInteger(value)) return writeFloat(writer, value)
  if (!Number.isSafeInteger(value)) throw unencodable('a bigint or a Float beyond the safe integers', String(value))
  const at = reserve(writer, 11)
  writer.view.setUint8(at, SMALL_BIG_EXT)
  writer.view.setUint8(at + 2, value < 0 ? 1 : 0)
  writer.view.setUint32(at + 3, Math.abs(value), true)
  writer.view.setUint32(at + 7, Math.abs(value) / 2 ** 32, true)
  while (writer.bytes[writer.at - 1] === 0) writer.at--
  writer.view.setUint8(at + 1, writer.at - at - 3)
}

function writeBigint(writer: Writer, value: bigint): void {
  if (value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER) return writeNumber(writer, Number(value))
  const hex = (value < 0n ? -value : value).toString(16)
  writeBig(writer, value < 0n, Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex').reverse())
}

function writeBig(writer: Writer, negative: boolean, magnitude: Uint8Array): void {
  const size = magnitude.length
  if (size > MAX_INTEGER_BYTES) throw unencodable(`an integer of at most ${MAX_INTEGER_BYTES} bytes`, String(size))
  putSize(writer, SMALL_BIG_EXT, LARGE_BIG_EXT, size)
  putByte(writer, negative ? 1 : 0)
  putBytes(writer, magnitude)
}

function writeFloat(writer: Writer, value: number): void {
  if (!Number.isFinite(value)) throw unencodable('a finite float', String(value))
  const at = reserve(writer, 9)
  writer.view.setUint8(at, NEW_FLOAT_EXT)
  writer.view.setFloat64(at + 1, value)
}

function writeList(writer: Writer, list: readonly Term[], depth: number): void {
  const size = list.length
  if (size === 0) return putByte(writer, NIL_EXT)
  if (size <= 0xff_ff && list.every(isByte)) {
    putByte(writer, STRING_EXT)
    putShort(writer, size)
    const at = reserve(writer, size)
    return writer.bytes.set(list, at)
  }
  putHead(writer, LIST_EXT, size)
  writeElements(writer, list, depth)
  putByte(writer, NIL_EXT)
}

function writeImproperList(writer: Writer, { elements, tail }: ImproperList, depth: number): void {
  if (elements.length === 0) throw unencodable('an element before the tail of an improper list', 'none')
  putHead(writer, LIST_EXT, elements.length)
  writeElements(writer, elements, depth)
  writeTerm(writer, tail, depth + 1)
}

function writeElements(writer: Writer, elements: readonly Term[], depth: number): void {
  for (const element of elements) writeTerm(writer, element, depth + 1)
}

function writeMap(writer: Writer, map: ReadonlyMap<Term, Term>, depth: number): void {
  putHead(writer, MAP_EXT, map.size)
  for (const [key, value] of map) {
    writeTerm(writer, key, depth + 1)
    writeTerm(writer, value, depth + 1)
  }
}

function writeBinary(writer: Writer, bytes: Uint8Array): void {
  putHead(writer, BINARY_EXT, bytes.length)
  putBytes(writer, bytes)
}

function writeBitString(writer: Writer, { bytes, bits }: BitString): void {
  if (bytes.length === 0 || !isByte(bits) || bits === 0 || bits > 8) {
    throw unencodable('bytes and 1 to 8 bits in the last', `${bytes.length} and ${bits}`)
  }
  putHead(writer, BIT_BINARY_EXT, bytes.length)
  putByte(writer, bits)
  putBytes(writer, bytes)
}

function writePid(writer: Writer, pid: Pid): void {
  putByte(writer, NEW_PID_EXT)
  writeAtom(writer, pid.node)
  putWord(writer, pid.id)
  putWord(writer, pid.serial)
  putWord(writer, pid.creation)
}

function writeRef(writer: Writer, ref: Ref): void {
  const count = ref.words.length
  if (count === 0 || count > MAX_REFERENCE_WORDS) {
    throw unencodable(`a reference of 1 to ${MAX_REFERENCE_WORDS} words`, String(count))
  }
  putByte(writer, NEWER_REFERENCE_EXT)
  putShort(writer, count)
  writeAtom(writer, ref.node)
  putWord(writer, ref.creation)
  for (const word of ref.words) putWord(writer, word)
}

/** The BEAM itself uses the longer form only for ids beyond 28 bits. */
function writePort(writer: Writer, port: Port): void {
  if (BigInt.asUintN(64, port.id) !== port.id) throw unencodable('a port id of 64 bits', String(port.id))
  const short = port.id < 1n << 28n
  putByte(writer, short ? NEW_PORT_EXT : V4_PORT_EXT)
  writeAtom(writer, port.node)
  if (!short) putWord(writer, Number(port.id >> 32n))
  putWord(writer, Number(BigInt.asUintN(32, port.id)))
  putWord(writer, port.creation)
}

function writeExport(writer: Writer, { module, function: name, arity }: Export): void {
  if (!isByte(arity)) throw unencodable('an arity of 0 to 255', String(arity))
  putByte(writer, EXPORT_EXT)
  writeAtom(writer, module)
  writeAtom(writer, name)
  writeNumber(writer, arity)
}

function isByte(term: Term): term is number {
  return typeof term === 'number' && (term & 255) === term
}

function putHead(writer: Writer, tag: number, size: number): void {
  putByte(writer, tag)
  putWord(writer, size)
}

function putSize(writer: Writer, smallTag: number, largeTag: number, size: number): void {
  if (size > 255) return putHead(writer, largeTag, size)
  putByte(writer, smallTag)
  putByte(writer, size)
}

/** The term of these bytes, which must be exactly one; everything else is as with {@link decodeFrom}. */
export function decode(bytes: Uint8Array): Term {
  const { term, next } = decodeFrom(bytes, 0)
  if (next !== bytes.length) throw malformed(next, 'the end', `${bytes.length - next} more bytes`)
  return term
}

/**
 * The versioned term that begins at `offset`, and where the next one would. Binaries are views on the bytes: a caller who
 * reuses these, or keeps a small part of a large frame, copies it. Integers are numbers where those are exact, else
 * bigints; floats are always a {@link Float}. Throws `etf` on all that is malformed, nested deeper than 512 or inflates to
 * more than 1 MiB; the memory it takes stays in proportion to the bytes.
 */
export function decodeFrom(bytes: Uint8Array, offset: number): { term: Term; next: number } {
  const reader = newReader(bytes, offset)
  const version = readByte(reader)
  if (version !== VERSION) throw malformed(offset, `version ${VERSION}`, String(version))
  const term = bytes[reader.at] === COMPRESSED ? readCompressed(reader) : readTerm(reader, 0)
  return { term, next: reader.at }
}

function readTerm(reader: Reader, depth: number): Term {
  if (depth > MAX_DEPTH) throw malformed(reader.at, `at most ${MAX_DEPTH} levels`, 'more')
  const tag = readByte(reader)
  // They are compared in this order: what comes most comes first.
  switch (tag) {
    case SMALL_ATOM_UTF8_EXT:
      return readAtomBody(reader, tag)
    case BINARY_EXT:
      return readBytes(reader, readWord(reader))
    case SMALL_INTEGER_EXT:
      return readByte(reader)
    case INTEGER_EXT:
      return readWord(reader) | 0
    case SMALL_TUPLE_EXT:
      return { type: 'tuple', elements: readElements(reader, readByte(reader), depth) }
    case MAP_EXT:
      return readMap(reader, depth)
    case LIST_EXT:
      return readList(reader, depth)
    case LARGE_TUPLE_EXT:
      return { type: 'tuple', elements: readElements(reader, readWord(reader), depth) }
    case NIL_EXT:
      return []
    case STRING_EXT:
      return readByteList(reader)
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
      return readDecimalFloat(reader)
    case ATOM_UTF8_EXT:
    case ATOM_EXT:
    case SMALL_ATOM_EXT:
      return readAtomBody(reader, tag)
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

/** No array is made in its announced size: each of 512 nested headers could announce all that is left. */
function readElements(reader: Reader, count: number, depth: number, elements: Term[] = []): Term[] {
  expectLeft(reader, count)
  for (let index = 0; index < count; index++) elements.push(readTerm(reader, depth + 1))
  return elements
}

function readByteList(reader: Reader): number[] {
  const list: number[] = []
  for (const byte of readBytes(reader, readShort(reader))) list.push(byte)
  return list
}

function readList(reader: Reader, depth: number): Term[] | ImproperList {
  const from = reader.at
  const elements = readElements(reader, readWord(reader), depth)
  // A tail that is a list goes on with this one. Copied level by level, 500 of them made 200 kB take 3 s.
  while (reader.bytes[reader.at] === LIST_EXT) {
    reader.at++
    readElements(reader, readWord(reader), depth, elements)
  }
  const tail = readTerm(reader, depth + 1)
  if (!Array.isArray(tail)) {
    if (elements.length === 0) throw malformed(from, 'an element before the tail of an improper list', 'none')
    return { type: 'improper', elements, tail }
  }
  for (const element of tail) elements.push(element)
  return elements
}

function readMap(reader: Reader, depth: number): Map<Term, Term> {
  const from = reader.at
  const count = readWord(reader)
  expectLeft(reader, 2 * count)
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
  // Rounding never takes a sum of 2^53 or more below it: where the result is safe, it is exact.
  let rounded = 0
  for (let index = reader.at - 1; index >= from; index--) rounded = rounded * 256 + reader.view.getUint8(index)
  if (Number.isSafeInteger(rounded)) return negative ? 0 - rounded : rounded
  const exact = BigInt(`0x${Buffer.from(reader.bytes.subarray(from, reader.at)).reverse().toString('hex')}`)
  return negative ? -exact : exact
}

function readFloat(reader: Reader): Float {
  const from = take(reader, 8)
  const value = reader.view.getFloat64(from)
  if (!Number.isFinite(value)) throw malformed(from, 'a finite float', String(value))
  return { type: 'float', value }
}

/** The form of minor version 0: `%.20e`, filled with zeros. */
function readDecimalFloat(reader: Reader): Float {
  const from = take(reader, 31)
  const text = reader.bytes.toString('latin1', from, reader.at).replace(/\0.*$/s, '')
  const value = Number(text)
  if (!/^-?\d\.\d{1,20}e[+-]\d{2,3}$/.test(text) || !Number.isFinite(value)) {
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
  return bits % 8 === 0 ? bytes : { type: 'bitstring', bytes, bits }
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
    throw malformed(reader.at - 2, `a reference of 1 to ${MAX_REFERENCE_WORDS} words`, String(count))
  }
  const node = readAtom(reader).name
  const creation = tag === NEW_REFERENCE_EXT ? readByte(reader) : readWord(reader)
  return { type: 'ref', node, creation, words: Array.from({ length: count }, () => readWord(reader)) }
}

function readPort(reader: Reader, tag: number): Port {
  const node = readAtom(reader).name
  const high = tag === V4_PORT_EXT ? readWord(reader) : 0
  const id = (BigInt(high) << 32n) + BigInt(readWord(reader))
  return { type: 'port', node, id, creation: tag === PORT_EXT ? readByte(reader) : readWord(reader) }
}

function readExport(reader: Reader): Export {
  const module = readAtom(reader).name
  const name = readAtom(reader).name
  const tag = readByte(reader)
  if (tag !== SMALL_INTEGER_EXT) throw malformed(reader.at - 1, 'the arity of an export', `tag ${tag}`)
  return { type: 'export', module, function: name, arity: readByte(reader) }
}

/** Kept as bytes, but read through once: a broken one, given back, would cost us the connection. */
function readFun(reader: Reader, depth: number): Fun {
  const from = reader.at
  const end = from + readWord(reader)
  take(reader, 1 + 16 + 4) // arity, uniq, index
  const freeVariables = readWord(reader)
  readElements(reader, 4 + freeVariables, depth) // module, old index, old uniq and pid go before them
  if (reader.at !== end) throw malformed(from, `a fun of ${end - from} bytes`, String(reader.at - from))
  return { type: 'fun', bytes: Uint8Array.from(reader.bytes.subarray(from - 1, end)) }
}

function readCompressed(reader: Reader): Term {
  const from = take(reader, 1)
  const size = readWord(reader)
  if (size > MAX_INFLATED_BYTES) {
    throw malformed(from, `a term that inflates to at most ${MAX_INFLATED_BYTES} bytes`, String(size))
  }
  const { buffer, engine } = inflate(reader, size)
  take(reader, engine.bytesWritten)
  const inflated = newReader(buffer, 0)
  const term = readTerm(inflated, 0)
  if (inflated.at !== size || buffer.length !== size) {
    throw malformed(from, `a term of ${size} bytes when inflated`, `${inflated.at} of ${buffer.length}`)
  }
  return term
}

interface Inflated {
  readonly buffer: Buffer
  readonly engine: { readonly bytesWritten: number }
}

function inflate(reader: Reader, size: number): Inflated {
  try {
    // With `info` comes the engine, which knows where the compressed bytes end; the types do not tell.
    const options = { maxOutputLength: Math.max(1, size), info: true }
    return inflateSync(reader.bytes.subarray(reader.at), options) as unknown as Inflated
  } catch (cause) {
    throw malformed(reader.at, `zlib data that inflates to ${size} bytes`, String(cause), cause)
  }
}
