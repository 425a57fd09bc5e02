import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { createFrameReader } from '../../../agent/beam/socket.ts'

/** A loopback server that runs `script` on each connection; `dropped` resolves when the first one has ended. */
export interface FakeServer {
  readonly port: number
  readonly dropped: Promise<void>
  close: () => Promise<void>
}

export async function startFake(script: (socket: Socket) => unknown): Promise<FakeServer> {
  const sockets = new Set<Socket>()
  const { promise: dropped, resolve } = Promise.withResolvers<void>()
  const server = createServer((socket) => {
    sockets.add(socket)
    // A hostile script may well write to a socket that its victim has closed.
    socket.on('error', () => {})
    socket.once('close', () => resolve())
    void script(socket)
    // An unread socket never learns that the other side has closed.
    if (socket.listenerCount('readable') + socket.listenerCount('data') === 0) socket.resume()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('expected a TCP port')
  return {
    port: address.port,
    dropped,
    async close() {
      for (const socket of sockets) socket.destroy()
      if (!server.listening) return
      server.close()
      await once(server, 'close')
    },
  }
}

export function frame(headerBytes: 2 | 4, body: Uint8Array): Buffer {
  const head = Buffer.alloc(headerBytes)
  head.writeUIntBE(body.length, 0, headerBytes)
  return Buffer.concat([head, body])
}

export function challengeOf(name: string, challenge: number): Buffer {
  const head = Buffer.alloc(19)
  head.write('N', 'latin1')
  head.writeBigUInt64BE(0xd07df7fbdn, 1)
  head.writeUInt32BE(challenge, 9)
  head.writeUInt32BE(77, 13)
  head.writeUInt16BE(name.length, 17)
  return Buffer.concat([head, Buffer.from(name, 'latin1')])
}

export function ackOf(reply: Buffer, cookie: string): Buffer {
  const proof = createHash('md5')
    .update(cookie + String(reply.readUInt32BE(1)))
    .digest()
  return Buffer.concat([Buffer.from('a'), proof])
}

/** The acceptor's side of the handshake, then `connected`; every frame that is read goes to `read`, those after the handshake too. */
export function acceptAs(
  name: string,
  cookie: string,
  connected: (socket: Socket) => unknown,
  { status = 'ok', read }: { status?: string; read?: (body: Buffer, socket: Socket) => void } = {},
) {
  return async (socket: Socket): Promise<void> => {
    const reader = createFrameReader(socket)
    const next = async (headerBytes: 2 | 4) => {
      const body = await reader.next(headerBytes, 0xffffffff).catch(() => undefined)
      if (body !== undefined) read?.(body, socket)
      return body
    }
    await next(2)
    socket.write(frame(2, Buffer.from(`s${status}`)))
    if (status === 'alive') await next(2)
    socket.write(frame(2, challengeOf(name, 4_000_000_000)))
    const reply = await next(2)
    if (reply === undefined) return
    socket.write(frame(2, ackOf(reply, cookie)))
    connected(socket)
    while ((await next(4)) !== undefined);
  }
}
