import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { type Beat, encodeBeat, parseBeat } from '../../core/sources/gossip.ts'

/** How beats become datagrams and back. Neither direction throws for anything that the network brings. */
export interface Wire {
  /** Undefined where the wire has no word for it (libcluster's knows no leaving). */
  readonly encode: (beat: Required<Beat>) => Uint8Array | undefined
  readonly decode: (datagram: Uint8Array) => Heard
}

export type Heard = { beat: Beat } | { refused: Refusal }

/** Why a datagram is not listened to. */
export type Refusal =
  | 'plain'
  | 'sealed'
  | 'other_secret'
  | 'other_wire'
  | 'other_version'
  | 'other_cluster'
  | 'malformed'

export const ROLLCALL_MAGIC = Buffer.from('rollcall')
export const LIBCLUSTER_MAGIC = Buffer.from('heartbeat::')

const VERSION = 1
const PLAIN = 0
const SEALED = 1
const HEAD_BYTES = ROLLCALL_MAGIC.length + 2
const NONCE_BYTES = 12
const TAG_BYTES = 16
const CIPHER = 'aes-256-gcm'

/**
 * rollcall's own datagrams: `rollcall`, a version, 0 or 1, and then a JSON body, plain or as nonce, AES-256-GCM text and tag over it,
 * with all that stands before them as associated data. The key is HKDF-SHA256 (RFC 5869) of the secret.
 */
export function createRollcallWire({
  secret,
  cluster = '',
}: {
  secret?: string | undefined
  cluster?: string | undefined
}): Wire {
  const key = secret === undefined ? undefined : keyOf(secret)
  return {
    encode(beat) {
      const body = Buffer.from(encodeBeat(beat, cluster))
      if (key === undefined) return Buffer.concat([headOf(PLAIN), body])
      return seal(key, body)
    },

    decode(datagram) {
      const bytes = Buffer.from(datagram.buffer, datagram.byteOffset, datagram.byteLength)
      if (!startsWith(bytes, ROLLCALL_MAGIC) || bytes.length < HEAD_BYTES) {
        return { refused: startsWith(bytes, LIBCLUSTER_MAGIC) ? 'other_wire' : 'malformed' }
      }
      const [version, form] = bytes.subarray(ROLLCALL_MAGIC.length)
      if (version !== VERSION) return { refused: 'other_version' }
      if (form !== PLAIN && form !== SEALED) return { refused: 'malformed' }
      if (form === PLAIN && key !== undefined) return { refused: 'plain' }
      if (form === SEALED && key === undefined) return { refused: 'sealed' }
      const body = key === undefined ? bytes.subarray(HEAD_BYTES) : unseal(key, bytes)
      if (body === undefined) return { refused: 'other_secret' }
      const parsed = parseBeat(body.toString())
      if (parsed === undefined) return { refused: 'malformed' }
      return parsed.cluster === cluster ? { beat: parsed.beat } : { refused: 'other_cluster' }
    },
  }
}

export function startsWith(bytes: Buffer, magic: Buffer): boolean {
  return bytes.subarray(0, magic.length).equals(magic)
}

function headOf(form: number): Buffer {
  return Buffer.concat([ROLLCALL_MAGIC, Buffer.of(VERSION, form)])
}

function keyOf(secret: string): Buffer {
  // No salt: all nodes must come to the same key from the secret alone. The info keeps it apart from other uses of one secret.
  return Buffer.from(hkdfSync('sha256', secret, '', `rollcall gossip v${VERSION} ${CIPHER}`, 32))
}

/**
 * The nonce is random: all nodes seal with one key, and a counter would need a number that no other start of any node ever had.
 * SP 800-38D, section 8.3, allows 2^32 datagrams under one key then, so that the odds of a nonce that repeats, and helps to forge,
 * stay below 2^-32: 1,000 nodes that beat every 5 s send as many in 8 months.
 */
function seal(key: Buffer, body: Buffer): Buffer {
  const head = headOf(SEALED)
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES }).setAAD(head)
  return Buffer.concat([head, nonce, cipher.update(body), cipher.final(), cipher.getAuthTag()])
}

function unseal(key: Buffer, bytes: Buffer): Buffer | undefined {
  const from = HEAD_BYTES + NONCE_BYTES
  const to = bytes.length - TAG_BYTES
  if (to < from) return undefined
  const decipher = createDecipheriv(CIPHER, key, bytes.subarray(HEAD_BYTES, from), { authTagLength: TAG_BYTES })
  decipher.setAAD(bytes.subarray(0, HEAD_BYTES)).setAuthTag(bytes.subarray(to))
  const body = decipher.update(bytes.subarray(from, to))
  try {
    return Buffer.concat([body, decipher.final()])
  } catch {
    // The one thing that final throws for: the tag is of another key or another text.
    return undefined
  }
}
