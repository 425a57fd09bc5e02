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
  const { hostname, port, host, pathname } = new URL(url)
  const lines = Object.entries({ host, ...headers }).map(([name, value]) => `${name}: ${value}\r\n`)
  const request = Buffer.from(`GET ${pathname} HTTP/1.1\r\n${lines.join('')}\r\n`)
  const sockets = await Promise.all(
    Array.from({ length: connections }, async () => {
      const socket = connect({ host: hostname, port: Number(port), noDelay: true })
      await once(socket, 'connect')
      return socket
    }),
  )
  try {
    const start = process.hrtime.bigint()
    await Promise.all(sockets.map((socket) => converse(socket, request, expected, Math.ceil(count / connections))))
    const seconds = Number(process.hrtime.bigint() - start) / 1e9
    return (Math.ceil(count / connections) * connections) / seconds
  } finally {
    for (const socket of sockets) socket.destroy()
  }
}

export interface LoadOptions {
  readonly headers?: Readonly<Record<string, string>>
  readonly expected: number
  readonly count: number
  readonly connections: number
}

/** Asks again whenever an answer is whole, `times` times. */
function converse(socket: Socket, request: Buffer, expected: number, times: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let buffered: Buffer = Buffer.alloc(0)
    let answered = 0
    socket.on('error', reject)
    socket.on('close', () => reject(new Error('expected the connection to be kept, got it closed')))
    socket.on('data', (chunk: Buffer) => {
      buffered = buffered.length === 0 ? chunk : Buffer.concat([buffered, chunk])
      const end = answerEnd(buffered)
      if (end === undefined || buffered.length < end) return
      const status = buffered.toString('latin1', 9, 12)
      if (status !== String(expected)) return reject(new Error(`expected status ${expected}, got ${status}`))
      buffered = buffered.subarray(end)
      answered++
      if (answered === times) resolve()
      else socket.write(request)
    })
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
