import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Socket } from 'node:net'
import { RollcallError } from '../../core/error.ts'
import type { NodeName } from '../../core/node.ts'
import { causeOf, type FrameReader, STEP_TIMEOUT_MS } from './socket.ts'

/** What each side says of itself in the handshake. */
export interface Introduction {
  readonly flags: bigint
  readonly creation: number
  readonly name: NodeName
}

export interface HandshakeOptions {
  readonly self: Introduction
  readonly peer: NodeName
  readonly cookie: string
  /** 2 on plain TCP; over TLS 4, from the first frame on. */
  readonly headerBytes: 2 | 4
  readonly stepTimeoutMs?: number
  readonly signal?: AbortSignal
}

/**
 * What a hidden rollcall node can do. Bits as in OTP's dist.hrl; the manual's value for MANDATORY_25_DIGEST is wrong.
 * DIST_HDR_ATOM_CACHE and FRAGMENTS stay off: with either, the BEAM takes no plain pass-through frame any more.
 */
export const HIDDEN_FLAGS =
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

// Two names, flags and a few numbers: more is no handshake.
const MAX_HANDSHAKE_BYTES = 4_096
const DIGEST_BYTES = 16

/**
 * Dials: the initiator's side of the version 6 handshake on a fresh socket. Resolves once both have proven to know the
 * cookie, and says whether the peer gave up another connection under our name; else throws, and the caller destroys the socket. Codes: `cookie_rejected`,
 * `digest_wrong`, `wrong_node`, `handshake_refused`, `handshake_closed`, `handshake_timeout`, `handshake_garbled`.
 * https://www.erlang.org/doc/apps/erts/erl_dist_protocol.html
 */
export async function initiate(
  socket: Socket,
  reader: FrameReader,
  options: HandshakeOptions,
): Promise<{ replaced: boolean }> {
  const { self, peer, cookie, headerBytes, stepTimeoutMs = STEP_TIMEOUT_MS, signal } = options

  function send(body: Buffer): void {
    const head = Buffer.alloc(headerBytes)
    head.writeUIntBE(body.length, 0, headerBytes)
    socket.write(Buffer.concat([head, body]))
  }

  async function receive(step: 'status' | 'challenge' | 'ack'): Promise<Buffer> {
    const giveUp = () =>
      socket.destroy(
        failure(
          'handshake_timeout',
          `${step} from ${peer} within ${stepTimeoutMs} ms, got none: is its VM overloaded?`,
        ),
      )
    const timer = setTimeout(giveUp, stepTimeoutMs)
    try {
      const body = await reader.next(headerBytes, MAX_HANDSHAKE_BYTES)
      if (body === undefined) throw closed(step, peer)
      return body
    } catch (error) {
      if (!(error instanceof RollcallError)) throw closed(step, peer, error)
      throw error.code === 'frame_too_large' ? garbled(`a short ${step}`, error.message) : error
    } finally {
      clearTimeout(timer)
    }
  }

  const onAbort = () => socket.destroy()
  signal?.addEventListener('abort', onAbort)
  try {
    signal?.throwIfAborted()
    send(encodeName(self))
    const status = decodeStatus(await receive('status'))
    if (status === 'alive') send(Buffer.from('strue', 'latin1'))
    else if (status !== 'ok' && status !== 'ok_simultaneous') throw refused(status, peer)

    const { challenge, name } = decodeChallenge(await receive('challenge'))
    if (name !== peer) {
      throw failure('wrong_node', `${peer}, got ${name}: another node listens on its port`)
    }
    const ownChallenge = randomBytes(4).readUInt32BE()
    send(encodeReply(ownChallenge, digest(cookie, challenge)))
    const ack = await receive('ack')
    if (ack.length !== 1 + DIGEST_BYTES || ack[0] !== 0x61) throw garbled('an ack', ack)
    if (!timingSafeEqual(ack.subarray(1), digest(cookie, ownChallenge))) {
      throw failure(
        'digest_wrong',
        `${peer} to prove that it knows the cookie, got a wrong digest: is it the node it says?`,
      )
    }
    return { replaced: status === 'alive' }
  } catch (error) {
    signal?.throwIfAborted()
    throw error
  } finally {
    signal?.removeEventListener('abort', onAbort)
  }
}

function encodeName({ flags, creation, name }: Introduction): Buffer {
  const head = Buffer.alloc(15)
  head.write('N', 'latin1')
  head.writeBigUInt64BE(flags, 1)
  head.writeUInt32BE(creation, 9)
  head.writeUInt16BE(name.length, 13)
  return Buffer.concat([head, Buffer.from(name, 'latin1')])
}

function encodeReply(challenge: number, proof: Buffer): Buffer {
  const head = Buffer.from('r0000', 'latin1')
  head.writeUInt32BE(challenge, 1)
  return Buffer.concat([head, proof])
}

function decodeStatus(body: Buffer): string {
  if (body[0] !== 0x73) throw garbled('a status', body)
  return body.toString('latin1', 1)
}

/** Bytes behind the name are for later versions and ignored. */
function decodeChallenge(body: Buffer): Introduction & { challenge: number } {
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

function digest(cookie: string, challenge: number): Buffer {
  return createHash('md5').update(cookie, 'latin1').update(String(challenge)).digest()
}

function refused(status: string, peer: NodeName): RollcallError {
  const check =
    status === 'nok'
      ? 'it is dialling this name itself'
      : 'does net_kernel:allow/1 leave this name out, or does its OTP want more than this version of rollcall has?'
  return failure('handshake_refused', `status ok from ${peer}, got ${JSON.stringify(status.slice(0, 32))}: ${check}`)
}

function closed(step: 'status' | 'challenge' | 'ack', peer: NodeName, cause?: unknown): RollcallError {
  if (step === 'ack') {
    // The BEAM gives no reason: it only closes, and writes "Invalid challenge reply" to its own log.
    return failure(
      'cookie_rejected',
      `${peer} to accept the cookie, got its connection closed: do both have the same cookie?`,
      cause,
    )
  }
  const got = cause === undefined ? 'the connection closed' : causeOf(cause)
  return failure(
    'handshake_closed',
    `${step} from ${peer}, got ${got}: is it a node, and do both or none use TLS?`,
    cause,
  )
}

function garbled(expected: string, got: Buffer | string): RollcallError {
  const shown = typeof got === 'string' ? got : got.subarray(0, 16).toString('hex') || 'an empty frame'
  return failure(
    'handshake_garbled',
    `${expected}, got ${shown}: is it a node that listens there, and do both or none use TLS?`,
  )
}

function failure(code: string, message: string, cause?: unknown): RollcallError {
  return new RollcallError(code, `[handshake] expected ${message}`, { cause })
}
