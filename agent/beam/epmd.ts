import { connect } from 'node:net'
import { addAbortSignal } from 'node:stream'
import { RollcallError } from '../../core/error.ts'
import { causeOf, established, STEP_TIMEOUT_MS } from './socket.ts'

/** The port that IANA gave epmd. */
export const EPMD_PORT = 4369

export interface EpmdOptions {
  host: string
  /** 4369 by default. */
  port?: number
  signal?: AbortSignal
  timeoutMs?: number
}

const PORT_PLEASE2_REQ = 122
const PORT2_RESP = 119
const NAMES_REQ = 110
// Two names of at most 64 KiB would fit a reply; real ones are some 20 bytes.
const MAX_PORT_REPLY_BYTES = 1_024
// About 10,000 lines.
const MAX_NAMES_REPLY_BYTES = 1_048_576

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
  if (reply.length < 4) throw garbled(options, 'names', reply)
  const lines = reply.toString('latin1', 4).split('\n')
  return lines.flatMap((line) => {
    const [, name, port] = /^name (\S+) at port (\d+)$/.exec(line) ?? []
    return name === undefined ? [] : [{ name, port: Number(port) }]
  })
}

/** epmd answers one request a connection and closes. https://www.erlang.org/doc/apps/erts/erl_dist_protocol.html */
async function ask(request: number, body: string, options: EpmdOptions, maxBytes: number): Promise<Buffer> {
  const { host, port = EPMD_PORT, signal, timeoutMs = STEP_TIMEOUT_MS } = options
  const unreachable = (cause: unknown) =>
    new RollcallError(
      'epmd_unreachable',
      `[epmd] expected an epmd at ${at(options)}, got ${causeOf(cause)}: does it run there, and does a firewall let this through?`,
      { cause },
    )
  const socket = connect({ host, port })
  await established(socket, 'connect', { ...(signal && { signal }), timeoutMs, failure: unreachable })
  const timeout = AbortSignal.timeout(timeoutMs)
  addAbortSignal(signal === undefined ? timeout : AbortSignal.any([signal, timeout]), socket)
  const head = Buffer.from([0, 0, request])
  head.writeUInt16BE(1 + body.length)
  const chunks: Buffer[] = []
  let size = 0
  try {
    socket.write(Buffer.concat([head, Buffer.from(body, 'latin1')]))
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > maxBytes) throw garbled(options, `at most ${maxBytes} bytes`, chunk)
      chunks.push(chunk)
    }
  } catch (error) {
    signal?.throwIfAborted()
    throw error instanceof RollcallError ? error : unreachable(error)
  } finally {
    socket.destroy()
  }
  return Buffer.concat(chunks)
}

function at({ host, port = EPMD_PORT }: EpmdOptions): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

function garbled(options: EpmdOptions, expected: string, got: Buffer): RollcallError {
  const bytes = got.subarray(0, 16).toString('hex') || 'nothing'
  return new RollcallError(
    'epmd_garbled',
    `[epmd] expected ${expected} from ${at(options)}, got ${bytes}: is it an epmd that listens there?`,
  )
}
