import { RollcallError } from '../../core/error.ts'

/** Bytes that are read from `at` on. All integers are big-endian; what reads beyond the end throws `etf`. */
export interface Reader {
  readonly bytes: Buffer
  readonly view: DataView
  readonly end: number
  at: number
}

/** A reader of these very bytes, not of a copy. */
export function newReader(bytes: Uint8Array, at: number): Reader {
  const { buffer, byteOffset, byteLength } = bytes
  const view = new DataView(buffer, byteOffset, byteLength)
  return { bytes: Buffer.from(buffer, byteOffset, byteLength), view, end: byteLength, at }
}

/** Steps over `count` bytes and returns where they begin. */
export function take(reader: Reader, count: number): number {
  expectLeft(reader, count)
  const from = reader.at
  reader.at = from + count
  return from
}

/** Throws when fewer than `count` bytes are left. */
export function expectLeft(reader: Reader, count: number): void {
  const left = reader.end - reader.at
  if (count > left) throw malformed(reader.at, `at least ${count} more bytes`, String(left))
}

/** An unsigned integer of 8 bits. */
export function readByte(reader: Reader): number {
  const from = take(reader, 1)
  return reader.view.getUint8(from)
}

/** An unsigned integer of 16 bits. */
export function readShort(reader: Reader): number {
  const from = take(reader, 2)
  return reader.view.getUint16(from)
}

/** An unsigned integer of 32 bits. */
export function readWord(reader: Reader): number {
  const from = take(reader, 4)
  return reader.view.getUint32(from)
}

/** A view on the next `count` bytes: small copies cost 30 times as much. */
/** An unsigned integer of 8 bits. */
export function readBytes(reader: Reader, count: number): Uint8Array {
  const from = take(reader, count)
  return new Uint8Array(reader.view.buffer, reader.view.byteOffset + from, count)
}

/** The error of bytes that are not what they must be. */
export function malformed(at: number, expected: string, got: string, cause?: unknown): RollcallError {
  return new RollcallError('etf', `[etf] expected ${expected} at byte ${at}, got ${got}`, { cause })
}

/** Bytes that are written at `at`; those since `start` belong together and move together when room runs out. */
export interface Writer {
  bytes: Uint8Array
  view: DataView
  start: number
  at: number
}

// As large as Node's reads from a socket; a term rarely needs more.
const SLAB_BYTES = 65_536

/** A writer with an empty slab. */
export function newWriter(): Writer {
  const bytes = new Uint8Array(SLAB_BYTES)
  return { bytes, view: new DataView(bytes.buffer), start: 0, at: 0 }
}

/** Begins another piece. Pieces share a slab: an allocation of its own for each small one costs more than to write it. */
export function startPiece(writer: Writer): void {
  if (writer.at * 2 > SLAB_BYTES) Object.assign(writer, newWriter())
  writer.start = writer.at
}

/** What was written since the start of the piece. */
export function endPiece(writer: Writer): Uint8Array {
  return writer.bytes.subarray(writer.start, writer.at)
}

/** Makes room for `count` bytes and returns where they begin; earlier positions may have moved. */
export function reserve(writer: Writer, count: number): number {
  if (writer.at + count > writer.bytes.length) grow(writer, count)
  const at = writer.at
  writer.at = at + count
  return at
}

function grow(writer: Writer, count: number): void {
  const used = writer.at - writer.start
  const bytes = new Uint8Array(Math.max(SLAB_BYTES, 2 * used, used + count))
  bytes.set(endPiece(writer))
  Object.assign(writer, { bytes, view: new DataView(bytes.buffer), start: 0, at: used })
}

/** An unsigned integer of 8 bits; the caller knows that it fits. */
export function putByte(writer: Writer, value: number): void {
  const at = reserve(writer, 1)
  writer.view.setUint8(at, value)
}

/** An unsigned integer of 16 bits; the caller knows that it fits. */
export function putShort(writer: Writer, value: number): void {
  const at = reserve(writer, 2)
  writer.view.setUint16(at, value)
}

/** An unsigned integer of 32 bits; throws when it is none. */
export function putWord(writer: Writer, value: number): void {
  if (value !== value >>> 0) throw unencodable('an unsigned integer of 32 bits', String(value))
  const at = reserve(writer, 4)
  writer.view.setUint32(at, value)
}

/** An unsigned integer of 8 bits; the caller knows that it fits. */
export function putBytes(writer: Writer, bytes: Uint8Array): void {
  const at = reserve(writer, bytes.length)
  writer.bytes.set(bytes, at)
}

/** The error of a value that cannot be written. */
export function unencodable(expected: string, got: string): RollcallError {
  return new RollcallError('etf', `[etf] expected ${expected} to encode, got ${got}`)
}
