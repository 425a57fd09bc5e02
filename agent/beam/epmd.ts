import { connect, type Socket } from 'node:net'
import { addAbortSignal } from 'node:stream'
import { RollcallError } from '../../core/error.ts'
import { within } from '../clock.ts'
import { causeOf, established, STEP_TIMEOUT_MS } from './socket.ts'

/** The port that IANA gave epmd. */
export const EPMD_PORT = 4369

export interface EpmdOptions {
  host: string
  /** 4369 by default. */
  port?: number
  /** Of the addresses of the host only those of this family; both by default. */
  family?: 4 | 6
  signal?: AbortSignal
  timeoutMs?: number
}

// https://www.erlang.org/doc/apps/erts/erl_dist_protocol.html: the first byte of each request and answer.
export const ALIVE2_REQ = 120
export const ALIVE2_RESP = 121
/** The answer to who speaks version 6 of the distribution: its creation has 32 bits. */
export const ALIVE2_X_RESP = 118
export const PORT_PLEASE2_REQ = 122
export const PORT2_RESP = 119
export const NAMES_REQ = 110

/** The versions of the distribution that we speak: 6 is what counts, 5 what OTP 25 to 29 say as the lowest. */
const HIGHEST_VERSION = 6
const LOWEST_VERSION = 5
const VISIBLE_NODE = 77
const HIDDEN_NODE = 72
// What OTP says for IPv6 and TLS too.
const TCP_IPV4 = 0
// Two names of at most 64 KiB would fit a reply; real ones are some 20 bytes.
const MAX_PORT_REPLY_BYTES = 1_024
// About 10,000 lines.
const MAX_NAMES_REPLY_BYTES = 1_048_576
const NEWLINE = 10

/** The distribution port of the node whose part before the `@` is `basename`. Throws `epmd_unreachable`, `not_registered`, `epmd_garbled`. */
export async function lookUpPort(basename: string, options: EpmdOptions): Promise<number> {
  const reply = await ask(PORT_PLEASE2_REQ, basename, options, MAX_PORT_REPLY_BYTES)
  if (reply.length < 2 || reply[0] !== PORT2_RESP) throw garbled(options, 'a port reply', reply)
  if (reply[1] !== 0) {
    throw new RollcallError(
      'not_registered',
      `[epmd] expected ${basename} to be registered in the epmd at ${at(options)}, got no such name: is the node up, and is this the epmd it uses?`,
    )
  }
  if (reply.length < 4) throw garbled(options, 'a port', reply)
  return reply.readUInt16BE(2)
}

/** All names registered in an epmd, with their ports. Throws `epmd_unreachable`, `epmd_garbled`. */
export async function registeredNames(options: EpmdOptions): Promise<{ name: string; port: number }[]> {
  const reply = await ask(NAMES_REQ, '', options, MAX_NAMES_REPLY_BYTES)
  // Only the end of the connection ends the answer: one that was cut, or of another protocol, must not pass for fewer names.
  const isWhole = reply.length === 4 || (reply.length > 4 && reply.at(-1) === NEWLINE)
  if (!isWhole) throw garbled(options, 'names, a line each', reply)
  const lines = reply.toString('latin1', 4).split('\n').slice(0, -1)
  return lines.map((line) => {
    const [, name, port] = /^name (.+) at port (\d+)$/.exec(line) ?? []
    if (name === undefined) throw garbled(options, 'names, a line each', reply)
    return { name, port: Number(port) }
  })
}

/** A node as epmd is told of it. */
export interface Announcement {
  readonly basename: string
  /** Where the node listens for the distribution. */
  readonly port: number
  readonly hidden: boolean
}

/**
 * Registers a node. The name is held for as long as the socket stays open; nothing more is to be written to it.
 * Throws `name_taken`, `epmd_unreachable`, `epmd_closed`, `epmd_garbled`; no socket stays open then.
 */
export async function announce({ basename, port, hidden }: Announcement, options: EpmdOptions): Promise<Socket> {
  const { signal, timeoutMs = STEP_TIMEOUT_MS } = options
  const name = Buffer.from(basename, 'latin1')
  const request = Buffer.alloc(15 + name.length)
  request.writeUInt16BE(13 + name.length)
  request.set([ALIVE2_REQ], 2)
  request.writeUInt16BE(port, 3)
  request.set([hidden ? HIDDEN_NODE : VISIBLE_NODE, TCP_IPV4, 0, HIGHEST_VERSION, 0, LOWEST_VERSION], 5)
  request.writeUInt16BE(name.length, 11)
  request.set(name, 13)

  const socket = await open(options)
  await within({ ms: timeoutMs, signal }, async (limit) => {
    // Not by addAbortSignal, which would end the registration too.
    const giveUp = () => socket.destroy(limit.reason)
    limit.addEventListener('abort', giveUp)
    let reply = Buffer.alloc(0)
    try {
      socket.write(request)
      for await (const chunk of socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
        reply = Buffer.concat([reply, chunk])
        // The creation that follows is left, as OTP leaves that of every registration but the first.
        if (reply.length >= 2) break
      }
      if (reply.length === 0) throw closedAtOnce(options)
      if ((reply[0] !== ALIVE2_X_RESP && reply[0] !== ALIVE2_RESP) || reply.length < 2) {
        throw garbled(options, 'an answer to a registration', reply)
      }
      if (reply[1] !== 0) throw taken(basename, options)
    } catch (error) {
      socket.destroy()
      signal?.throwIfAborted()
      if (error instanceof RollcallError) throw error
      throw limit.aborted ? unreachable(options, timedOut(timeoutMs)) : closedAtOnce(options, error)
    } finally {
      limit.removeEventListener('abort', giveUp)
    }
  })
  // With something unread its end would never be seen.
  return socket.resume()
}

/** epmd answers one request a connection and closes. */
async function ask(request: number, body: string, options: EpmdOptions, maxBytes: number): Promise<Buffer> {
  const { signal, timeoutMs = STEP_TIMEOUT_MS } = options
  const socket = await open(options)
  const head = Buffer.from([0, 0, request])
  head.writeUInt16BE(1 + body.length)
  const chunks: Buffer[] = []
  let size = 0
  await within({ ms: timeoutMs, signal }, async (limit) => {
    addAbortSignal(limit, socket)
    try {
      socket.write(Buffer.concat([head, Buffer.from(body, 'latin1')]))
      for await (const chunk of socket as AsyncIterable<Buffer>) {
        size += chunk.length
        if (size > maxBytes) throw garbled(options, `at most ${maxBytes} bytes`, chunk)
        chunks.push(chunk)
      }
    } catch (error) {
      signal?.throwIfAborted()
      throw error instanceof RollcallError ? error : unreachable(options, error)
    } finally {
      socket.destroy()
    }
  })
  return Buffer.concat(chunks)
}

async function open(options: EpmdOptions): Promise<Socket> {
  const { host, port = EPMD_PORT, family, signal, timeoutMs = STEP_TIMEOUT_MS } = options
  const socket = connect({ host, port, ...(family !== undefined && { family }) })
  const failure = (cause: unknown) => unreachable(options, cause)
  await established(socket, 'connect', { ...(signal && { signal }), timeoutMs, failure })
  return socket
}

function at({ host, port = EPMD_PORT }: EpmdOptions): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

function timedOut(ms: number): Error {
  return new Error(`no answer within ${ms} ms`)
}

function unreachable(options: EpmdOptions, cause: unknown): RollcallError {
  return new RollcallError(
    'epmd_unreachable',
    `[epmd] expected an epmd at ${at(options)}, got ${causeOf(cause)}: does it run there, and does a firewall let this through?`,
    { cause },
  )
}

function closedAtOnce(options: EpmdOptions, cause?: unknown): RollcallError {
  const got = cause === undefined ? 'the end of the connection' : causeOf(cause)
  return new RollcallError(
    'epmd_closed',
    `[epmd] expected an answer from the epmd at ${at(options)}, got ${got}: it takes registrations from its own machine only; is it this one?`,
    { cause },
  )
}

function taken(basename: string, options: EpmdOptions): RollcallError {
  return new RollcallError(
    'name_taken',
    `[epmd] expected the name ${basename} to be free in the epmd at ${at(options)}, got one that is taken: a node of this name runs on this machine; stop it, or give this one another name`,
  )
}

function garbled(options: EpmdOptions, expected: string, got: Buffer): RollcallError {
  const bytes = got.subarray(0, 16).toString('hex') || 'nothing'
  return new RollcallError(
    'epmd_garbled',
    `[epmd] expected ${expected} from ${at(options)}, got ${bytes}: is it an epmd that listens there?`,
  )
}
