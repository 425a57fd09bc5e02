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
  readonly size: number
  readonly view: DataView
}

// The last ASCII atom of each hash. Most that come are the same few; a peer that sends ever new ones fills no memory.
const seenAtoms: (SeenAtom | undefined)[] = Array.from({ length: 4096 }, () => undefined)

function readAtomName(reader: Reader, size: number, encoding: 'utf8' | 'latin1'): Atom {
  const from = take(reader, size)
  const slot = slotOf(reader.view, from, size)
  const seen = seenAtoms[slot]
  if (seen !== undefined && seen.size === size && isAt(reader.view, from, seen)) return seen.atom
  const bytes = reader.bytes.subarray(from, reader.at)
  if (size > MAX_CHARACTERS || !isAscii(bytes)) return { type: 'atom', name: unicodeName(reader, from, encoding) }
  const atom: Atom = { type: 'atom', name: bytes.toString('latin1') }
  seenAtoms[slot] = { atom, size, view: new DataView(Uint8Array.from(bytes).buffer) }
  return atom
}

/** 12 bits of the first four bytes and the last eight: names of one kind differ near their end. */
function slotOf(view: DataView, from: number, size: number): number {
  if (size < 4) return Math.imul(shortWordAt(view, from, size), 0x9e3779b1) >>> 20
  const last = from + size - 4
  let hash = Math.imul(view.getInt32(from, true) ^ size, 0x9e3779b1)
  if (size > 8) hash = Math.imul(hash ^ (hash >>> 15) ^ view.getInt32(last - 4, true), 0x9e3779b1)
  if (size > 4) hash = Math.imul(hash ^ (hash >>> 15) ^ view.getInt32(last, true), 0x9e3779b1)
  return hash >>> 20
}

/** By four bytes at once, the last of which may overlap those before. */
function isAt(all: DataView, from: number, { size, view }: SeenAtom): boolean {
  if (size < 4) return shortWordAt(all, from, size) === shortWordAt(view, 0, size)
  const last = size - 4
  for (let index = 0; index < last; index += 4) {
    if (all.getInt32(from + index, true) !== view.getInt32(index, true)) return false
  }
  return all.getInt32(from + last, true) === view.getInt32(last, true)
}

function shortWordAt(view: DataView, from: number, size: number): number {
  let word = 0
  for (let index = 0; index < size; index++) word = word * 256 + view.getUint8(from + index)
  return word
}

function unicodeName(reader: Reader, from: number, encoding: 'utf8' | 'latin1'): string {
  const bytes = reader.bytes.subarray(from, reader.at)
  if (encoding === 'utf8' && !isUtf8(bytes)) throw malformed(from, 'an atom in UTF-8', 'other bytes')
  const name = bytes.toString(encoding)
  const characters = Array.from(name).length
  if (characters <= MAX_CHARACTERS) return name
  throw malformed(from, `an atom of at most ${MAX_CHARACTERS} characters`, String(characters))
}
