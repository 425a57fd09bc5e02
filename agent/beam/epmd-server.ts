import { once } from 'node:events'
import { createServer, isIP, type Server, type Socket } from 'node:net'
import { RollcallError } from '../../core/error.ts'
import { isLoopback } from '../../core/node.ts'
import type { Log } from '../../functions/resolvers/source.ts'
import { type Clock, systemClock } from '../clock.ts'
import { createEpmdNames, MAX_REQUEST_BYTES } from './epmd-names.ts'
import { causeOf } from './socket.ts'

export interface ServeEpmdOptions {
  /** 0 takes a free one. */
  readonly port: number
  /** As in ERL_EPMD_ADDRESS: loopback is added. Every interface by default. */
  readonly addresses?: readonly string[] | undefined
  readonly log: Log
  readonly clock?: Clock
}

/** An epmd in this process. */
export interface EpmdServer {
  readonly port: number
  /** Ends it. Who is registered sees its connection close. */
  close(): Promise<void>
}

// epmd itself waits 60 s. A client sends its request with its connection, and OTP's own waits 10 s for the answer: afterwards nobody is there.
const REQUEST_TIMEOUT_MS = 10_000
// More than the nodes that start at once on one machine, and some MB at the most.
const MAX_WAITING = 1_024
// As epmd: all that the kernel allows.
const BACKLOG = 4_096
// On a machine without IPv6.
const MISSING_FAMILY = new Set<unknown>(['EAFNOSUPPORT', 'EADDRNOTAVAIL', 'EPROTONOSUPPORT'])

/**
 * Serves epmd, bound like epmd itself: the first address decides who serves, another that cannot be bound is logged.
 * Rejects with `epmd_taken` (somebody else serves the port) or `epmd_bind`.
 */
export async function serveEpmd({ port, addresses, log, clock = systemClock }: ServeEpmdOptions): Promise<EpmdServer> {
  const strange = addresses?.find((address) => isIP(address) === 0)
  if (strange !== undefined) throw failure(strange, port, new Error('no IP address'))
  const names = createEpmdNames(log)
  const servers: Server[] = []
  const sockets = new Set<Socket>()
  // Those that stand for no name, in the order of their coming.
  const waiting = new Set<Socket>()

  function accept(socket: Socket): void {
    const settled = new AbortController()
    let received = Buffer.alloc(0)
    let release = () => {}

    function drop(): void {
      waiting.delete(socket)
      socket.destroy()
    }

    function read(chunk: Buffer): void {
      received = Buffer.concat([received, chunk])
      if (received.length < 2) return
      const length = received.readUInt16BE(0)
      // Who says more than a request, then or later, is no client of an epmd. Its name goes with its connection.
      if (length === 0 || length > MAX_REQUEST_BYTES || received.length > 2 + length) return drop()
      if (received.length < 2 + length) return
      const isLocal = isLoopback((socket.remoteAddress ?? '').replace(/^::ffff:/, ''))
      const answer = names.answer(received.subarray(2), { isLocal, epmdPort: socket.localPort ?? port })
      if (answer === undefined) return drop()
      if (answer.release !== undefined) {
        release = answer.release
        waiting.delete(socket)
        settled.abort()
      }
      if (answer.release !== undefined || answer.stays) socket.write(answer.reply)
      else socket.end(answer.reply)
    }

    sockets.add(socket)
    waiting.add(socket)
    const [oldest] = waiting
    if (oldest !== undefined && waiting.size > MAX_WAITING) {
      waiting.delete(oldest)
      oldest.destroy()
    }
    socket.on('data', read)
    // A broken connection is closed next, and that is all there is to it.
    socket.on('error', () => undefined)
    socket.once('close', () => {
      sockets.delete(socket)
      waiting.delete(socket)
      settled.abort()
      release()
    })
    void clock.sleep(REQUEST_TIMEOUT_MS, settled.signal).then(() => settled.signal.aborted || drop())
  }

  const implied = addresses === undefined ? ['0.0.0.0', '::'] : ['127.0.0.1', '::1']
  let bound = port
  for (const host of new Set([...implied, ...(addresses ?? [])])) {
    // ipv6Only, or `::` would take the IPv4 port too. exclusive, or a worker of node:cluster would share it with others.
    const options = { host, port: bound, ipv6Only: true, exclusive: true, backlog: BACKLOG }
    try {
      const server = createServer({ noDelay: true }, accept)
      server.listen(options)
      await once(server, 'listening')
      // Out of file descriptors, say: the next one may be accepted again.
      server.on('error', (error) => log.warn({ port: bound, error: error.message }, 'the epmd could not accept'))
      servers.push(server)
      const address = server.address()
      if (typeof address === 'object' && address !== null) bound = address.port
    } catch (cause) {
      const { code } = cause as { code?: unknown }
      const isMissing = implied.includes(host) && MISSING_FAMILY.has(code)
      if (servers.length === 0 && !isMissing) throw failure(host, port, cause)
      const note = { address: host, port: bound, error: causeOf(cause) }
      if (isMissing) log.debug(note, 'the epmd does without an address')
      else log.warn(note, 'the epmd could not bind an address')
    }
  }
  if (servers.length === 0) throw failure(implied.join(' and '), port, new Error('neither IPv4 nor IPv6'))

  return {
    port: bound,
    async close() {
      const open = servers.filter((server) => server.listening)
      for (const server of open) server.close()
      for (const socket of sockets) socket.destroy()
      await Promise.all(open.map((server) => once(server, 'close')))
    },
  }
}

function failure(host: string, port: number, cause: unknown): RollcallError {
  const isTaken = (cause as { code?: unknown }).code === 'EADDRINUSE'
  const hint = isTaken ? 'an epmd or another program has it' : 'may this process bind it, and are the addresses right?'
  const message = `[epmd] expected to serve port ${port} of ${host}, got ${causeOf(cause)}: ${hint}`
  return new RollcallError(isTaken ? 'epmd_taken' : 'epmd_bind', message, { cause })
}
