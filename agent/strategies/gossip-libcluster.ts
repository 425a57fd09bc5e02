import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'
import { RollcallError } from '../../core/error.ts'
import { isNodeName, type NodeName } from '../../core/node.ts'
import { atom, decode as decodeTerm, encode as encodeTerm, isAtom, type Term } from '../beam/etf.ts'
import { type Heard, LIBCLUSTER_MAGIC, ROLLCALL_MAGIC, startsWith, type Wire } from './gossip-wire.ts'

const BLOCK_BYTES = 16
const CIPHER = 'aes-256-cbc'
const COMPRESSED = 80
const VERSION_AND_MAP = Buffer.of(131, 116, 0, 0, 0, 1)

/**
 * The datagrams of libcluster's Gossip: `heartbeat::` and `%{node: name}` in the external term format; with a secret an IV and that
 * text in AES-256-CBC, the key being the SHA-256 of the secret. They carry neither a time nor proof of their sender, so anybody may
 * play them back, and whoever knows two of them may bend one. Further keys of the map are left alone.
 */
export function createLibclusterWire({ secret }: { secret?: string | undefined }): Wire {
  const key = secret === undefined ? undefined : createHash('sha256').update(secret).digest()
  return {
    encode({ node, status }) {
      if (status === 'leaving') return undefined
      const text = heartbeatOf(node)
      return key === undefined ? text : encrypt(key, text)
    },

    decode(datagram) {
      const bytes = Buffer.from(datagram.buffer, datagram.byteOffset, datagram.byteLength)
      if (startsWith(bytes, ROLLCALL_MAGIC)) return { refused: 'other_wire' }
      const isPlain = startsWith(bytes, LIBCLUSTER_MAGIC)
      if (key === undefined)
        return isPlain ? readHeartbeat(bytes) : { refused: isSealed(bytes) ? 'sealed' : 'malformed' }
      if (isPlain) return { refused: 'plain' }
      if (!isSealed(bytes)) return { refused: 'malformed' }
      const text = decrypt(key, bytes)
      return text === undefined || !startsWith(text, LIBCLUSTER_MAGIC)
        ? { refused: 'other_secret' }
        : readHeartbeat(text)
    },
  }
}

/**
 * The text of a heartbeat. Atoms in `utf8` are what nodes send from OTP 26 on, in `latin1` what they sent before; every OTP reads
 * both.
 */
export function heartbeatOf(node: NodeName, atoms: 'utf8' | 'latin1' = 'utf8'): Buffer {
  if (atoms === 'utf8') {
    return Buffer.concat([LIBCLUSTER_MAGIC, encodeTerm(new Map([[atom('node'), atom(node)]]))])
  }
  return Buffer.concat([LIBCLUSTER_MAGIC, VERSION_AND_MAP, latin1Atom('node'), latin1Atom(node)])
}

function latin1Atom(name: string): Buffer {
  return Buffer.concat([Buffer.of(100, name.length >> 8, name.length & 255), Buffer.from(name, 'latin1')])
}

function readHeartbeat(text: Buffer): Heard {
  const term = text.subarray(LIBCLUSTER_MAGIC.length)
  // No libcluster compresses, and a few bytes that inflate to a megabyte would each cost a millisecond.
  if (term[1] === COMPRESSED) return { refused: 'malformed' }
  const node = nodeIn(term)
  return node === undefined ? { refused: 'malformed' } : { beat: { node, status: 'up' } }
}

function nodeIn(bytes: Buffer): NodeName | undefined {
  const term = termOf(bytes)
  if (!(term instanceof Map)) return undefined
  for (const [key, value] of term) {
    if (isAtom(key, 'node')) return isAtom(value) && isNodeName(value.name) ? value.name : undefined
  }
  return undefined
}

function termOf(bytes: Buffer): Term | undefined {
  try {
    return decodeTerm(bytes)
  } catch (error) {
    if (error instanceof RollcallError) return undefined
    throw error
  }
}

function isSealed({ length }: Buffer): boolean {
  return length >= 2 * BLOCK_BYTES && length % BLOCK_BYTES === 0
}

function encrypt(key: Buffer, text: Buffer): Buffer {
  const iv = randomBytes(BLOCK_BYTES)
  const cipher = createCipheriv(CIPHER, key, iv)
  return Buffer.concat([iv, cipher.update(text), cipher.final()])
}

function decrypt(key: Buffer, bytes: Buffer): Buffer | undefined {
  const decipher = createDecipheriv(CIPHER, key, bytes.subarray(0, BLOCK_BYTES))
  const text = decipher.update(bytes.subarray(BLOCK_BYTES))
  try {
    return Buffer.concat([text, decipher.final()])
  } catch {
    // The one thing that final throws for in whole blocks: the padding is none, so the key is another.
    return undefined
  }
}
