/**
 * FNV-1a with a final avalanche (the finaliser of MurmurHash3): 32 unsigned bits, equal everywhere for equal text.
 * For order and jitter; it keeps nothing secret.
 */
export function hash32(text: string, seed = 0x811c9dc5): number {
  let hash = seed
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/** 64 bits of {@link hash32} under two seeds, as 16 hexadecimal digits. */
export function hash64(text: string): string {
  const digits = (value: number) => value.toString(16).padStart(8, '0')
  return digits(hash32(text)) + digits(hash32(text, 0x9e3779b9))
}
