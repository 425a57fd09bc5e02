import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { duplexPair } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import { accept, type Handshake, initiate, type Status } from '../../../agent/beam/handshake.ts'
import {
  digest,
  encodeAck,
  encodeChallenge,
  encodeName,
  encodeReply,
  encodeStatus,
  flagsOf,
} from '../../../agent/beam/handshake-message.ts'
import { createFrameReader } from '../../../agent/beam/socket.ts'
import { RollcallError } from '../../../core/error.ts'
import { frame } from '../../agent/beam/fake-node.ts'
import { joinParts, partsOf, replaceMarker, type Target } from '../target.ts'

const cookie = 'secret'
const flags = flagsOf({ hidden: true })
const self = { flags, creation: 7, name: 'a@127.0.0.1' }
const other = { flags, creation: 9, name: 'b@127.0.0.2' }
// Stands in an input for the proof that the cookie is known.
const PROOF = Buffer.from('proof of cookie!')
// How the messages begin that hold a challenge.
const CHALLENGE = 0x4e
const REPLY = 0x72
// Of the event loop: enough for what was said to be heard and answered.
const TURNS = 4
const STATUSES: readonly Status[] = ['ok', 'ok_simultaneous', 'alive', 'nok', 'not_allowed']
const CODES = /^(cookie_rejected|digest_wrong|wrong_node|handshake_(refused|nok|closed|garbled))$/

/**
 * Both sides of the handshake. The first byte of the first part says which (1: the side that is dialled), how frames are cut (4: as over
 * TLS; 2: the last part is none) and what is decided about the peer; the other parts are what the peer says. It ends with an agreement, which needs the proof, or an error of its own, as soon as the peer has said all.
 */
export function handshakeTarget(): Target {
  const asAcceptor = [encodeStatus('ok'), encodeChallenge({ ...other, challenge: 1 }), encodeAck(PROOF)]
  const asInitiator = [encodeName(other), encodeReply(1, PROOF)]
  const seeds = [
    joinParts([Buffer.of(0), ...asAcceptor]),
    joinParts([Buffer.of(0), encodeStatus('alive'), ...asAcceptor.slice(1)]),
    joinParts([Buffer.of(1), ...asInitiator]),
    joinParts([Buffer.of(1 | 8), ...asInitiator]),
    joinParts([Buffer.of(1 | 16), encodeName(other), encodeStatus('true'), encodeReply(1, PROOF)]),
    joinParts([Buffer.of(2), frame(2, encodeStatus('ok')), frame(2, encodeStatus('ok'))]),
  ]
  let agreements = 0
  return {
    seeds,
    words: [PROOF, 'ok', 'ok_simultaneous', 'nok', 'alive', 'true', 'not_allowed', 'b@127.0.0.2', '@', 'N', 's'],
    inputs: 10_000,

    async run(input) {
      const [options = Buffer.alloc(0), ...said] = partsOf(input)
      const choice = options[0] ?? 0
      const knowsCookie = said.some((part) => part.includes(PROOF))
      const agreed = await shake(choice, said)
      if (agreed instanceof RollcallError) return assert.match(agreed.code, CODES)
      agreements++
      assert.ok(knowsCookie, 'agreed with who has not proven anything')
      assert.match(agreed.peer.name, /^[!-?A-~]+@[!-?A-~]+$/)
      if ((choice & 1) === 0) assert.equal(agreed.peer.name, other.name)
    },

    checkReach() {
      assert.ok(agreements > 0, 'nobody agreed: the proof is not made as it should be')
    },
  }
}

async function shake(choice: number, said: readonly Buffer[]): Promise<Handshake | RollcallError> {
  const [near, far] = duplexPair()
  const headerBytes = (choice & 4) === 0 ? 2 : 4
  const options = { self, cookie, headerBytes, stepTimeoutMs: 15_000 } as const
  const status = STATUSES[(choice >> 3) % STATUSES.length] ?? 'ok'
  far.on('error', () => {})
  near.on('error', () => {})
  const tag = (choice & 1) === 0 ? REPLY : CHALLENGE
  let challenge: number | undefined
  far.on('data', (heard: Buffer) => (challenge = challengeIn(heard, tag) ?? challenge))
  const speak = async () => {
    for (const [index, part] of said.entries()) {
      // A proof answers a challenge, where one comes.
      for (let left = TURNS; left > 0 && part.includes(PROOF); left--) await turn()
      const proven = challenge === undefined ? part : replaceMarker(part, PROOF, digest(cookie, challenge))
      const isRaw = (choice & 2) !== 0 && index === said.length - 1
      far.write(isRaw ? proven : frame(headerBytes, proven.subarray(0, 65_535)))
    }
    far.end()
  }
  const socket = near as unknown as Socket
  const reader = createFrameReader(socket)
  const spoken = speak()
  try {
    return (choice & 1) === 0
      ? await initiate(socket, reader, { ...options, peer: other.name })
      : await accept(socket, reader, { ...options, answer: () => status, admit: () => (choice & 64) === 0 })
  } catch (error) {
    if (error instanceof RollcallError) return error
    throw error
  } finally {
    near.destroy()
    await spoken
    far.destroy()
  }
}

/** The challenge in what the side under test says, which begins with `tag`. */
function challengeIn(heard: Buffer, tag: number): number | undefined {
  const body = partsOf(heard, 4).findLast((part) => part[0] === tag)
  if (body === undefined) return undefined
  const at = tag === REPLY ? 1 : 9
  return body.length >= at + 4 ? body.readUInt32BE(at) : undefined
}
