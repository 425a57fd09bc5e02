import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** A request as it goes over the wire: its length, then its body. */
export function framed(...parts: (string | Uint8Array)[]): Buffer {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part as string)))
  const head = Buffer.alloc(2)
  head.writeUInt16BE(body.length)
  return Buffer.concat([head, body])
}

/** ALIVE2_REQ; the lengths are those of the name and the extra unless they lie. */
export function alive(
  name: string | Uint8Array,
  options: { port?: number; high?: number; extra?: string; nameLength?: number; extraLength?: number } = {},
): Buffer {
  const { port = 4_000, high = 6, extra = '' } = options
  const bytes = Buffer.from(name as string)
  const { nameLength = bytes.length, extraLength = extra.length } = options
  const head = Buffer.from([120, 0, 0, 77, 0, 0, high, 0, 5, 0, 0])
  head.writeUInt16BE(port, 1)
  head.writeUInt16BE(nameLength, 9)
  const between = Buffer.alloc(2)
  between.writeUInt16BE(extraLength)
  return framed(head, bytes, between, extra)
}

/** A client that says bytes, and hears. */
export interface Client {
  readonly socket: Socket
  /** Rejects when the connection ends before `bytes` came. */
  heard(bytes: number): Promise<Buffer>
  /** All that came, once the other side has ended. */
  readonly whole: Promise<Buffer>
}

export async function say(port: number, bytes: Uint8Array, host = '127.0.0.1'): Promise<Client> {
  // Half open, so that the end of the other side is what it says, and not what we answer.
  const socket = connect({ port, host, allowHalfOpen: true })
  let received = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => (received = Buffer.concat([received, chunk])))
  // A reset is an end too: it is what Linux makes of a connection that is closed with something unread.
  const { promise: whole, resolve } = Promise.withResolvers<Buffer>()
  socket.on('error', () => undefined)
  socket.once('end', () => resolve(received))
  socket.once('close', () => resolve(received))
  await once(socket, 'connect')
  if (bytes.length > 0) await new Promise((resolve) => socket.write(bytes, resolve))
  return {
    socket,
    whole,
    async heard(count) {
      const ended = whole.then(() => Promise.reject(new Error(`ended after ${received.toString('hex')}`)))
      ended.catch(() => undefined)
      while (received.length < count) await Promise.race([once(socket, 'data'), ended])
      return received
    },
  }
}

/** Says `bytes`, hears all of the answer, and closes. */
export async function ask(port: number, bytes: Uint8Array, host?: string): Promise<Buffer> {
  const { socket, whole } = await say(port, bytes, host)
  const answer = await whole
  socket.destroy()
  return answer
}
