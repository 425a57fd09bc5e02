/** What is fuzzed: an entry for bytes from outside, and what it promises about them. */
export interface Target {
  /** Valid inputs to begin with. */
  readonly seeds: readonly (Uint8Array | string)[]
  /** Words of the format, put in as they are. */
  readonly words?: readonly (Uint8Array | string)[]
  /** Inputs that are JSON are changed as values, too: a byte that is flipped in one rarely leaves JSON. */
  readonly isJson?: boolean
  /** How many inputs take some three seconds: what `npm test` runs. */
  readonly inputs: number
  /** Feeds one input. Throws where a promise is broken; what is refused as it should be is none. */
  readonly run: (input: Uint8Array) => void | Promise<void>
  /** Throws where nothing was accepted of all that was fed: then nothing was shown. */
  readonly checkReach?: () => void
  readonly close?: () => Promise<void>
}

/** The bytes of an input, or of a word, that is written as text. */
export function bytesOf(value: Uint8Array | string): Uint8Array {
  return typeof value === 'string' ? Buffer.from(value) : value
}

/** Parts as one input that {@link partsOf} takes apart again. */
export function joinParts(parts: readonly (Uint8Array | string)[]): Uint8Array {
  return Buffer.concat(
    parts.flatMap((part) => {
      const bytes = bytesOf(part)
      return [Buffer.of(bytes.length >> 8, bytes.length & 255), bytes]
    }),
  )
}

/** The parts of any bytes: a length of 16 bits before each, cut where fewer are left, so that no input is wasted on a wrong one. */
export function partsOf(input: Uint8Array, maxParts = 64): Buffer[] {
  const bytes = Buffer.from(input.buffer, input.byteOffset, input.byteLength)
  const parts: Buffer[] = []
  for (let at = 0; at + 2 <= bytes.length && parts.length < maxParts; ) {
    const end = Math.min(bytes.length, at + 2 + bytes.readUInt16BE(at))
    parts.push(bytes.subarray(at + 2, end))
    at = end
  }
  return parts
}

/** Copies of the bytes in which a marker of equal length is replaced: what only the other side of a dialogue can know. */
export function replaceMarker(bytes: Uint8Array, marker: Uint8Array, by: Uint8Array): Buffer {
  const copy = Buffer.from(bytes)
  for (let at = copy.indexOf(marker); at >= 0; at = copy.indexOf(marker, at + marker.length)) copy.set(by, at)
  return copy
}
