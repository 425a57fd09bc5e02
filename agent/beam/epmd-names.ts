import { isUtf8 } from 'node:buffer'
import { randomBytes } from 'node:crypto'
import type { Log } from '../../functions/resolvers/source.ts'
import { ALIVE2_REQ, ALIVE2_RESP, ALIVE2_X_RESP, NAMES_REQ, PORT2_RESP, PORT_PLEASE2_REQ } from './epmd.ts'

const DUMP_REQ = 100
const KILL_REQ = 107

/** The longest request: what epmd itself takes. A name and an extra of the greatest length need two thirds of it. */
export const MAX_REQUEST_BYTES = 3_057

// The most characters of an atom, and the bytes that they need as UTF-8.
const MAX_CHARACTERS = 255
const MAX_NAME_BYTES = 4 * MAX_CHARACTERS
// epmd itself waits with select(), which has room for 1,024 connections of all kinds.
const MAX_NAMES = 1_024
// What epmd says for a creation in a refusal. Nobody reads it.
const NO_CREATION = 99

/** What a request is answered. Absent: its connection is closed without a word. */
export interface EpmdAnswer {
  readonly reply: Buffer
  /** The client ends the connection; else it ends with the reply. */
  readonly stays?: boolean
  /** There is a name now that is held until this is called, and the connection stands for it. */
  readonly release?: () => void
}

export interface EpmdClient {
  /** Only who is on this machine may register, dump and kill. */
  readonly isLocal: boolean
  /** Where it found this epmd: names are listed with it. */
  readonly epmdPort: number
}

/** The names that an epmd knows. */
export interface EpmdNames {
  /** `request` is a whole one, without its length. */
  answer(request: Buffer, client: EpmdClient): EpmdAnswer | undefined
}

/**
 * Makes an empty table of names that answers each request as epmd does, byte by byte.
 * But KILL is refused with no name registered too, and STOP as without `-relaxed_command_check`.
 * https://www.erlang.org/doc/apps/erts/erl_dist_protocol.html
 */
export function createEpmdNames(log: Log): EpmdNames {
  // By their bytes: any UTF-8 may be a name.
  const nodes = new Map<string, { port: number; reply: Buffer }>()
  // Random, so that a node that comes back under another epmd does not get the creation that it had.
  let creation = randomBytes(4).readUInt32BE()
  let isFull = false

  function register(request: Buffer): EpmdAnswer | undefined {
    if (request.length < 14) return undefined
    const nameEnd = 11 + request.readUInt16BE(9)
    if (nameEnd + 2 > request.length) return undefined
    const end = nameEnd + 2 + request.readUInt16BE(nameEnd)
    const name = request.subarray(11, nameEnd)
    if (end > request.length || name.includes(0)) return undefined

    const isWide = request.readUInt16BE(5) >= 6
    const key = name.toString('latin1')
    const isRefused = !isName(name, MAX_CHARACTERS) || end - nameEnd - 2 > MAX_NAME_BYTES || nodes.has(key)
    if (isRefused) return { reply: aliveReply(isWide, 1, NO_CREATION), stays: true }
    if (nodes.size >= MAX_NAMES) {
      if (!isFull) log.warn({ names: nodes.size }, 'the epmd has no room for another name')
      isFull = true
      return undefined
    }
    const port = request.readUInt16BE(1)
    // A port reply repeats what was registered: port, type, protocol, versions, name and extra.
    nodes.set(key, { port, reply: Buffer.concat([Buffer.from([PORT2_RESP, 0]), request.subarray(1, end)]) })
    log.debug({ name: name.toString(), port }, 'a node has registered in the epmd')
    return {
      reply: aliveReply(isWide, 0, nextCreation(isWide)),
      release() {
        nodes.delete(key)
        isFull = false
        log.debug({ name: name.toString(), port }, 'a node has left the epmd')
      },
    }
  }

  function nextCreation(isWide: boolean): number {
    // 0 is none, and 1 to 3 are those of old nodes.
    creation = creation >= 0xffffffff ? 4 : Math.max(4, creation + 1)
    return isWide ? creation : 1 + (creation % 3)
  }

  function lookUp(request: Buffer): EpmdAnswer | undefined {
    const name = request.subarray(1, request.at(-1) === 0 ? -1 : undefined)
    // One character less than can be registered, for epmd counts the end of the text too.
    if (name.length === 0 || name.includes(0) || !isName(name, MAX_CHARACTERS - 1)) return undefined
    return { reply: nodes.get(name.toString('latin1'))?.reply ?? Buffer.from([PORT2_RESP, 1]) }
  }

  /** The last that came is the first that is told. */
  function list({ epmdPort }: EpmdClient, line: (name: string, port: number) => string): EpmdAnswer {
    const head = Buffer.alloc(4)
    head.writeUInt32BE(epmdPort)
    const lines = [...nodes].reverse().map(([name, { port }]) => line(name, port))
    return { reply: Buffer.concat([head, Buffer.from(lines.join(''), 'latin1')]) }
  }

  return {
    answer(request, client) {
      switch (request[0]) {
        case PORT_PLEASE2_REQ:
          return lookUp(request)
        case NAMES_REQ:
          return list(client, (name, port) => `name ${name} at port ${port}\n`)
      }
      if (!client.isLocal) return undefined
      switch (request[0]) {
        case ALIVE2_REQ:
          return register(request)
        case DUMP_REQ:
          // Node does not tell the file descriptor.
          return list(client, (name, port) => `active name     <${name}> at port ${port}, fd = 0\n\0`)
        case KILL_REQ:
          return { reply: Buffer.from('NO') }
      }
      return undefined
    },
  }
}

function isName(bytes: Buffer, maxCharacters: number): boolean {
  if (bytes.length > MAX_NAME_BYTES || !isUtf8(bytes)) return false
  const firstBytes = bytes.filter((byte) => (byte & 0xc0) !== 0x80)
  return firstBytes.length <= maxCharacters
}

function aliveReply(isWide: boolean, result: number, creation: number): Buffer {
  const reply = Buffer.alloc(isWide ? 6 : 4)
  reply.set([isWide ? ALIVE2_X_RESP : ALIVE2_RESP, result])
  reply.writeUIntBE(creation, 2, isWide ? 4 : 2)
  return reply
}
