import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { RollcallError } from '../../core/error.ts'
import { isNodeName, type NodeName } from '../../core/node.ts'
import {
  areSufficient,
  decodeAck,
  decodeChallenge,
  decodeName,
  decodeReply,
  decodeStatus,
  digest,
  encodeAck,
  encodeChallenge,
  encodeName,
  encodeReply,
  encodeStatus,
  failure,
  garbled,
  type Introduction,
  proves,
} from './handshake-message.ts'
import { causeOf, type FrameReader, STEP_TIMEOUT_MS } from './socket.ts'

export interface HandshakeOptions {
  readonly self: Introduction
  readonly cookie: string
  /** 2 on plain TCP; over TLS 4, from the first frame on. */
  readonly headerBytes: 2 | 4
  readonly stepTimeoutMs?: number
  readonly signal?: AbortSignal
}

// Two names, flags and a few numbers: more is no handshake.
const MAX_HANDSHAKE_BYTES = 4_096

/** What is agreed with a peer. */
export interface Handshake {
  readonly peer: Introduction
  /** Whether a connection that the peer had under our name, or we under its name, is given up for this one. */
  readonly replaced: boolean
}

/**
 * Dials: the initiator's side of the version 6 handshake on a fresh socket. Resolves once both have proven to know the
 * cookie; else throws, and the caller destroys the socket. Codes: `cookie_rejected`, `digest_wrong`, `wrong_node`,
 * `handshake_refused`, `handshake_nok` (the peer dials us itself), `handshake_closed`, `handshake_timeout`, `handshake_garbled`.
 * https://www.erlang.org/doc/apps/erts/erl_dist_protocol.html
 */
export async function initiate(
  socket: Socket,
  reader: FrameReader,
  { peer, ...options }: HandshakeOptions & { readonly peer: NodeName },
): Promise<Handshake> {
  const { self, cookie } = options
  return await converse(socket, reader, { ...options, peer }, async ({ send, receive }) => {
    send(encodeName(self))
    const status = decodeStatus(await receive('status'))
    if (status === 'alive') send(encodeStatus('true'))
    else if (status !== 'ok' && status !== 'ok_simultaneous') throw refused(status, peer)

    const challenged = decodeChallenge(await receive('challenge'))
    if (challenged.name !== peer) {
      throw failure('wrong_node', `${peer}, got ${challenged.name}: another node listens on its port`)
    }
    const challenge = randomBytes(4).readUInt32BE()
    send(encodeReply(challenge, digest(cookie, challenged.challenge)))
    if (!proves(decodeAck(await receive('ack')), cookie, challenge)) throw digestWrong(peer)
    return { peer: challenged, replaced: status === 'alive' }
  })
}

/** What the acceptor says to a peer that gave its name. */
export type Status = 'ok' | 'ok_simultaneous' | 'nok' | 'not_allowed' | 'alive'

export interface AcceptOptions extends HandshakeOptions {
  /** Decides by the name alone, which nobody has proven yet: it must change nothing. */
  readonly answer: (peer: Introduction) => Status
  /** Asked once the peer has proven to know the cookie, and last: false closes. */
  readonly admit: (peer: Introduction, status: Status) => boolean
}

/**
 * Accepts: the other side of the same handshake. Throws `handshake_refused` where `answer` or `admit` said no, `digest_wrong`, and
 * `handshake_closed`, `handshake_timeout` or `handshake_garbled`.
 */
export async function accept(socket: Socket, reader: FrameReader, options: AcceptOptions): Promise<Handshake> {
  const { self, cookie, answer, admit } = options
  return await converse(socket, reader, { ...options, peer: 'who dialled' }, async ({ send, receive }) => {
    const peer = decodeName(await receive('name'))
    if (!isNodeName(peer.name)) throw failure('handshake_garbled', `a node name, got ${JSON.stringify(peer.name)}`)
    const status = areSufficient(peer.flags) ? answer(peer) : 'not_allowed'
    send(encodeStatus(status))
    if (status === 'nok' || status === 'not_allowed') throw turnedAway(peer, status)
    if (status === 'alive' && decodeStatus(await receive('status')) !== 'true') throw turnedAway(peer, status)

    const challenge = randomBytes(4).readUInt32BE()
    send(encodeChallenge({ ...self, challenge }))
    const reply = decodeReply(await receive('reply'))
    if (!proves(reply.proof, cookie, challenge)) throw digestWrong(peer.name)
    if (!admit(peer, status)) throw turnedAway(peer, status)
    send(encodeAck(digest(cookie, reply.challenge)))
    return { peer, replaced: status === 'alive' }
  })
}

interface Dialogue {
  readonly send: (body: Buffer) => void
  readonly receive: (step: Step) => Promise<Buffer>
}

type Step = 'name' | 'status' | 'challenge' | 'reply' | 'ack'

/** Talks in frames, each waited for `stepTimeoutMs` at most. */
async function converse(
  socket: Socket,
  reader: FrameReader,
  { peer, headerBytes, stepTimeoutMs = STEP_TIMEOUT_MS, signal }: HandshakeOptions & { readonly peer: string },
  talk: (dialogue: Dialogue) => Promise<Handshake>,
): Promise<Handshake> {
  function send(body: Buffer): void {
    const head = Buffer.alloc(headerBytes)
    head.writeUIntBE(body.length, 0, headerBytes)
    socket.write(Buffer.concat([head, body]))
  }

  async function receive(step: Step): Promise<Buffer> {
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
    return await talk({ send, receive })
  } catch (error) {
    signal?.throwIfAborted()
    throw error
  } finally {
    signal?.removeEventListener('abort', onAbort)
  }
}

function turnedAway({ name }: Introduction, status: Status): RollcallError {
  return failure('handshake_refused', `to let ${name} in, got it turned away with ${status}`)
}

function digestWrong(peer: NodeName): RollcallError {
  return failure(
    'digest_wrong',
    `${peer} to prove that it knows the cookie, got a wrong digest: do both have the same?`,
  )
}

function refused(status: string, peer: NodeName): RollcallError {
  const check =
    status === 'nok'
      ? 'it is dialling this name itself'
      : 'does net_kernel:allow/1 leave this name out, or does its OTP want more than this version of rollcall has?'
  const code = status === 'nok' ? 'handshake_nok' : 'handshake_refused'
  return failure(code, `status ok from ${peer}, got ${JSON.stringify(status.slice(0, 32))}: ${check}`)
}

function closed(step: Step, peer: string, cause?: unknown): RollcallError {
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
