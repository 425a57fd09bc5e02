import { isAscii, isUtf8 } from 'node:buffer'
import type { Atom } from './etf.ts'
import {
  malformed,
  putByte,
  putBytes,
  putShort,
  type Reader,
  readByte,
  readShort,
  reserve,
  take,
  unencodable,
  type Writer,
} from './etf-bytes.ts'

// The tags under their names in https://www.erlang.org/doc/apps/erts/erl_ext_dist.html
export const SMALL_ATOM_UTF8_EXT = 119
export const ATOM_UTF8_EXT = 118
export const ATOM_EXT = 100
export const SMALL_ATOM_EXT = 115

// The BEAM's own limit.
const MAX_CHARACTERS = 255

/** An atom of this name, in UTF-8. */
export function writeAtom(writer: Writer, name: string): void {
  const size = name.length
  if (size > MAX_CHARACTERS) return writeUnicodeAtom(writer, name)
  const at = reserve(writer, 2 + size)
  const { bytes } = writer
  bytes[at] = SMALL_ATOM_UTF8_EXT
  bytes[at + 1] = size
  let all = 0
  for (let index = 0; index < size; index++) {
    const code = name.charCodeAt(index)
    bytes[at + 2 + index] = code
    all |= code
  }
  if (all < 128) return
  writer.at = at
  writeUnicodeAtom(writer, name)
}

function writeUnicodeAtom(writer: Writer, name: string): void {
  const characters = Array.from(name).length
  if (characters > MAX_CHARACTERS || !name.isWellFormed()) {
    throw unencodable(`an atom of at most ${MAX_CHARACTERS} characters of Unicode`, JSON.stringify(name))
  }
  const bytes = Buffer.from(name)
  putByte(writer, bytes.length < 256 ? SMALL_ATOM_UTF8_EXT : ATOM_UTF8_EXT)
  if (bytes.length < 256) putByte(writer, bytes.length)
  else putShort(writer, bytes.length)
  putBytes(writer, bytes)
}

/** An atom in any of its forms. */
export function readAtom(reader: Reader): Atom {
  return readAtomBody(reader, readByte(reader))
}

/** An atom whose tag has been read. */
export function readAtomBody(reader: Reader, tag: number): Atom {
  switch (tag) {
    case SMALL_ATOM_UTF8_EXT:
      return readAtomName(reader, readByte(reader), 'utf8')
    case ATOM_UTF8_EXT:
      return readAtomName(reader, readShort(reader), 'utf8')
    case SMALL_ATOM_EXT:
      return readAtomName(reader, readByte(reader), 'latin1')
    case ATOM_EXT:
      return readAtomName(reader, readShort(reader), 'latin1')
    default:
      throw malformed(reader.at - 1, 'an atom', `tag ${tag}`)
  }
}

interface SeenAtom {
  readonly atom: Atom
  readonly bytes: Uint8Array
}

// The last ASCII atom of each hash. Most that come are the same few; a peer that sends ever new ones fills no memory.
const seenAtoms: (SeenAtom | undefined)[] = Array.from({ length: 4096 }, () => undefined)

function readAtomName(reader: Reader, size: number, encoding: 'utf8' | 'latin1'): Atom {
  const from = take(reader, size)
  const slot = hashAt(reader.view, from, reader.at) & 4095
  const seen = seenAtoms[slot]
  if (seen !== undefined && isAt(reader.bytes, from, size, seen.bytes)) return seen.atom
  const bytes = reader.bytes.subarray(from, reader.at)
  if (size > MAX_CHARACTERS || !isAscii(bytes)) return { type: 'atom', name: unicodeName(reader, from, encoding) }
  const atom: Atom = { type: 'atom', name: bytes.toString('latin1') }
  seenAtoms[slot] = { atom, bytes: new Uint8Array(bytes) }
  return atom
}

function hashAt(view: DataView, from: number, end: number): number {
  let hash = end - from
  let at = from
  for (; at + 4 <= end; at += 4) hash = Math.imul(hash ^ view.getInt32(at), 0x9e3779b1)
  for (; at < end; at++) hash = Math.imul(hash ^ view.getUint8(at), 0x9e3779b1)
  return hash ^ (hash >>> 15)
}

function isAt(all: Uint8Array, from: number, size: number, bytes: Uint8Array): boolean {
  if (bytes.length !== size) return false
  for (let index = 0; index < size; index++) {
    if (bytes[index] !== all[from + index]) return false
  }
  return true
}

function unicodeName(reader: Reader, from: number, encoding: 'utf8' | 'latin1'): string {
  const bytes = reader.bytes.subarray(from, reader.at)
  if (encoding === 'utf8' && !isUtf8(bytes)) throw malformed(from, 'an atom in UTF-8', 'other bytes')
  const name = bytes.toString(encoding)
  const characters = Array.from(name).length
  if (characters <= MAX_CHARACTERS) return name
  throw malformed(from, `an atom of at most ${MAX_CHARACTERS} characters`, String(characters))
}
