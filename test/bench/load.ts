import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/**
 * Sends `count` GET requests over `connections` kept-alive connections, one at a time on each, and gives the answers per
 * second. Throws on any other status than `expected`. Plain sockets: Node's own HTTP client costs more than the servers
 * that it would measure.
 */
export async function requestsPerSecond(
  url: string,
  { headers = {}, expected, count, connections }: LoadOptions,
): Promise<number> {
  const request = requestOf(url, headers)
  const sockets = await openSockets(url, connections)
  try {
    const start = process.hrtime.bigint()
    await Promise.all(sockets.map((socket) => converse(socket, request, expected, Math.ceil(count / connections))))
    const seconds = Number(process.hrtime.bigint() - start) / 1e9
    return (Math.ceil(count / connections) * connections) / seconds
  } finally {
    for (const socket of sockets) socket.destroy()
  }
}

/** `connections` that are held open, for the same GET over each at once. */
export interface Held {
  /** Is done when each has its answer. */
  ask(headers: Readonly<Record<string, string>>, expected: number): Promise<void>
  close(): void
}

/** Opens the connections of `Held`. */
export async function hold(url: string, connections: number): Promise<Held> {
  const sockets = await openSockets(url, connections)
  return {
    async ask(headers, expected) {
      const request = requestOf(url, headers)
      await Promise.all(sockets.map((socket) => converse(socket, request, expected, 1)))
    },
    close() {
      for (const socket of sockets) socket.destroy()
    },
  }
}

export interface LoadOptions {
  readonly headers?: Readonly<Record<string, string>>
  readonly expected: number
  readonly count: number
  readonly connections: number
}

function requestOf(url: string, headers: Readonly<Record<string, string>>): Buffer {
  const { host, pathname, search } = new URL(url)
  const lines = Object.entries({ host, ...headers }).map(([name, value]) => `${name}: ${value}\r\n`)
  return Buffer.from(`GET ${pathname}${search} HTTP/1.1\r\n${lines.join('')}\r\n`)
}

function openSockets(url: string, connections: number): Promise<Socket[]> {
  const { hostname, port } = new URL(url)
  return Promise.all(
    Array.from({ length: connections }, async () => {
      const socket = connect({ host: hostname, port: Number(port), noDelay: true })
      await once(socket, 'connect')
      return socket
    }),
  )
}

/** Asks again whenever an answer is whole, `times` times. */
function converse(socket: Socket, request: Buffer, expected: number, times: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let buffered: Buffer = Buffer.alloc(0)
    let answered = 0
    const lost = () => reject(new Error('expected the connection to be kept, got it closed'))
    socket.on('error', reject).on('close', lost).on('data', read)

    function read(chunk: Buffer): void {
      buffered = buffered.length === 0 ? chunk : Buffer.concat([buffered, chunk])
      const end = answerEnd(buffered)
      if (end === undefined || buffered.length < end) return
      const status = buffered.toString('latin1', 9, 12)
      if (status !== String(expected)) return reject(new Error(`expected status ${expected}, got ${status}`))
      buffered = buffered.subarray(end)
      answered++
      if (answered < times) return void socket.write(request)
      socket.off('error', reject).off('close', lost).off('data', read)
      resolve()
    }
    socket.write(request)
  })
}

/** Where the answer ends, known once its head is there. */
function answerEnd(bytes: Buffer): number | undefined {
  const head = bytes.indexOf('\r\n\r\n')
  if (head < 0) return undefined
  const [, length = '0'] = /\r\ncontent-length: (\d+)/i.exec(bytes.toString('latin1', 0, head)) ?? []
  return head + 4 + Number(length)
}
