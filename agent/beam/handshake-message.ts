import { createHash, timingSafeEqual } from 'node:crypto'
import { RollcallError } from '../../core/error.ts'
import type { NodeName } from '../../core/node.ts'

/** What each side says of itself in the handshake. */
export interface Introduction {
  readonly flags: bigint
  readonly creation: number
  readonly name: NodeName
}

/**
 * What a hidden rollcall node can do. Bits as in OTP's dist.hrl; the manual's value for MANDATORY_25_DIGEST is wrong.
 * DIST_HDR_ATOM_CACHE and FRAGMENTS stay off: with either, the BEAM takes no plain pass-through frame any more.
 */
const HIDDEN_FLAGS =
  0x4n | // EXTENDED_REFERENCES
  0x8n | // DIST_MONITOR
  0x10n | // FUN_TAGS
  0x20n | // DIST_MONITOR_NAME
  0x80n | // NEW_FUN_TAGS
  0x100n | // EXTENDED_PIDS_PORTS
  0x200n | // EXPORT_PTR_TAG
  0x400n | // BIT_BINARIES
  0x800n | // NEW_FLOATS
  0x10000n | // UTF8_ATOMS
  0x20000n | // MAP_TAG
  0x40000n | // BIG_CREATION
  0x80000n | // SEND_SENDER
  0x100000n | // BIG_SEQTRACE_LABELS
  0x400000n | // EXIT_PAYLOAD
  0x1000000n | // HANDSHAKE_23
  0x2000000n | // UNLINK_ID
  0x4000000n | // MANDATORY_25_DIGEST
  (0xdn << 32n) // SPAWN, V4_NC, ALIAS

const PUBLISHED = 1n
const NAME_ME = 1n << 33n
const DIGEST_25 = 0x4000000n
// What an OTP 25 demands of a peer; MANDATORY_25_DIGEST stands for all of it.
const MANDATORY = 0x1070f94n
const DIGEST_BYTES = 16

/** The flags of a node of ours. */
export function flagsOf({ hidden }: { readonly hidden: boolean }): bigint {
  return hidden ? HIDDEN_FLAGS : HIDDEN_FLAGS | PUBLISHED
}

/** Whether a peer with these flags can be understood, and does not want its name from us. */
export function areSufficient(flags: bigint): boolean {
  return ((flags & DIGEST_25) !== 0n || (flags & MANDATORY) === MANDATORY) && (flags & NAME_ME) === 0n
}

/** `send_name` of version 6. */
export function encodeName({ flags, creation, name }: Introduction): Buffer {
  const head = Buffer.alloc(15)
  head.write('N', 'latin1')
  head.writeBigUInt64BE(flags, 1)
  head.writeUInt32BE(creation, 9)
  head.writeUInt16BE(name.length, 13)
  return Buffer.concat([head, Buffer.from(name, 'latin1')])
}

/** `send_challenge_reply`: the own challenge, and the proof for the one that was given. */
export function encodeReply(challenge: number, proof: Buffer): Buffer {
  const head = Buffer.from('r0000', 'latin1')
  head.writeUInt32BE(challenge, 1)
  return Buffer.concat([head, proof])
}

/** A status, or the answer to one. */
export function encodeStatus(status: string): Buffer {
  return Buffer.from(`s${status}`, 'latin1')
}

/** `send_challenge_ack`: the proof for the initiator's challenge. */
export function encodeAck(proof: Buffer): Buffer {
  return Buffer.concat([Buffer.from('a', 'latin1'), proof])
}

/** The text of a status. */
export function decodeStatus(body: Buffer): string {
  if (body[0] !== 0x73) throw garbled('a status', body)
  return body.toString('latin1', 1)
}

/** Reads `send_challenge`. Bytes behind the name are for later versions and ignored. */
export function decodeChallenge(body: Buffer): Introduction & { challenge: number } {
  if (body[0] !== 0x4e || body.length < 19) throw garbled('a challenge of version 6 (OTP 23 or later)', body)
  const end = 19 + body.readUInt16BE(17)
  if (body.length < end) throw garbled('a whole name', body)
  return {
    flags: body.readBigUInt64BE(1),
    challenge: body.readUInt32BE(9),
    creation: body.readUInt32BE(13),
    name: body.toString('latin1', 19, end),
  }
}

/** What proves that its sender knows the cookie: MD5, as OTP wants it. */
export function digest(cookie: string, challenge: number): Buffer {
  return createHash('md5').update(cookie, 'latin1').update(String(challenge)).digest()
}

/** Reads `send_name` of version 6. */
export function decodeName(body: Buffer): Introduction {
  if (body[0] !== 0x4e || body.length < 15) throw garbled('a name of version 6 (OTP 23 or later)', body)
  const end = 15 + body.readUInt16BE(13)
  if (body.length < end) throw garbled('a whole name', body)
  return { flags: body.readBigUInt64BE(1), creation: body.readUInt32BE(9), name: body.toString('latin1', 15, end) }
}

/** `send_challenge` of version 6. */
export function encodeChallenge({ flags, creation, name, challenge }: Introduction & { challenge: number }): Buffer {
  const head = Buffer.alloc(19)
  head.write('N', 'latin1')
  head.writeBigUInt64BE(flags, 1)
  head.writeUInt32BE(challenge, 9)
  head.writeUInt32BE(creation, 13)
  head.writeUInt16BE(name.length, 17)
  return Buffer.concat([head, Buffer.from(name, 'latin1')])
}

/** Reads `send_challenge_reply`. */
export function decodeReply(body: Buffer): { challenge: number; proof: Buffer } {
  if (body.length !== 5 + DIGEST_BYTES || body[0] !== 0x72) throw garbled('a reply', body)
  return { challenge: body.readUInt32BE(1), proof: body.subarray(5) }
}

/** Reads `send_challenge_ack`. */
export function decodeAck(body: Buffer): Buffer {
  if (body.length !== 1 + DIGEST_BYTES || body[0] !== 0x61) throw garbled('an ack', body)
  return body.subarray(1)
}

/** Whether a proof is that of `cookie`; takes the same time for any that is wrong. */
export function proves(proof: Buffer, cookie: string, challenge: number): boolean {
  return timingSafeEqual(proof, digest(cookie, challenge))
}

/** The error for what is no message of the handshake. */
export function garbled(expected: string, got: Buffer | string): RollcallError {
  const shown = typeof got === 'string' ? got : got.subarray(0, 16).toString('hex') || 'an empty frame'
  return failure(
    'handshake_garbled',
    `${expected}, got ${shown}: is it a node that listens there, and do both or none use TLS?`,
  )
}

/** A RollcallError of the handshake. */
export function failure(code: string, message: string, cause?: unknown): RollcallError {
  return new RollcallError(code, `[handshake] expected ${message}`, { cause })
}
