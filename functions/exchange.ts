import { createSocket } from 'node:dgram'
import { readFile } from 'node:fs/promises'
import { createConnection, isIPv6 } from 'node:net'
import { RollcallError } from '../core/error.ts'
import { parseResolvConf, type SystemResolver, systemResolver } from './resolv-conf.ts'

const HEADER_BYTES = 12

/**
 * Sends one DNS packet to `udp://host:port` or `tcp://host:port` (default port 53, IPv6 in brackets, a host name over
 * IPv4) and gives the answer's bytes. Over UDP a datagram that answers another id or question is left unread, so that
 * a forger must guess both and the port. Throws `dns_unreachable`, or the reason of `signal`.
 */
export async function exchange(server: string, packet: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
  const [, protocol, bracketed, plain, port = '53'] =
    /^(udp|tcp):\/\/(?:\[([^\]]+)\]|([^:/[\]]+))(?::(\d{1,5}))?\/?$/.exec(server) ?? []
  const host = bracketed ?? plain
  if (host === undefined || Number(port) > 65_535) {
    throw new RollcallError('config', `[dns] expected a server like udp://10.0.0.2:53, got ${server}`)
  }
  signal.throwIfAborted()
  const target = { host, port: Number(port) }
  return protocol === 'udp'
    ? await overUdp(target, { packet, signal, server })
    : await overTcp(target, { packet, signal, server })
}

/** What /etc/resolv.conf says; where there is none, as resolv.conf(5) has it, to ask the local machine. */
export async function resolvConf(): Promise<SystemResolver> {
  return systemResolver(parseResolvConf(await readResolvConf()))
}

async function readResolvConf(): Promise<string> {
  try {
    return await readFile('/etc/resolv.conf', 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return ''
    throw new RollcallError(
      'config',
      '[dns] expected to read /etc/resolv.conf: check its permissions, or set `server`',
      {
        cause: error,
      },
    )
  }
}

interface Target {
  host: string
  port: number
}

interface Exchange {
  packet: Uint8Array
  signal: AbortSignal
  server: string
}

function overUdp({ host, port }: Target, { packet, signal, server }: Exchange): Promise<Uint8Array> {
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>()
  // A socket of its own for every packet: each has another random port. Connected, it hears no other host, and hears ICMP.
  const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4')
  const abort = () => reject(signal.reason)
  signal.addEventListener('abort', abort)
  socket.on('error', (error) => reject(unreachable(server, error)))
  socket.on('message', (datagram) => {
    if (isAnswerTo(packet, datagram)) resolve(datagram)
  })
  socket.once('connect', () => socket.send(packet))
  socket.connect(port, host)
  return promise.finally(() => {
    signal.removeEventListener('abort', abort)
    socket.close()
  })
}

function overTcp(target: Target, { packet, signal, server }: Exchange): Promise<Uint8Array> {
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>()
  const socket = createConnection(target)
  const abort = () => reject(signal.reason)
  signal.addEventListener('abort', abort)
  // RFC 1035 section 4.2.2: a length of two bytes before each message, so an answer never exceeds 64 KiB.
  let received = Buffer.alloc(0)
  socket.on('data', (chunk) => {
    received = Buffer.concat([received, chunk])
    if (received.length < 2) return
    const end = 2 + received.readUInt16BE(0)
    if (received.length >= end) resolve(received.subarray(2, end))
  })
  socket.on('error', (error) => reject(unreachable(server, error)))
  socket.once('close', () => reject(unreachable(server, new Error('the connection was closed before the answer'))))
  const length = Buffer.alloc(2)
  length.writeUInt16BE(packet.length)
  socket.write(Buffer.concat([length, packet]))
  return promise.finally(() => {
    signal.removeEventListener('abort', abort)
    socket.destroy()
  })
}

function unreachable(server: string, cause: Error): RollcallError {
  return new RollcallError(
    'dns_unreachable',
    `[dns] expected an answer from ${server}, got ${cause.message}: is a DNS server listening there?`,
    { cause },
  )
}

/** Whether a datagram is a response with the id and the question of this query; letter case aside, as servers may change it. */
function isAnswerTo(query: Uint8Array, datagram: Uint8Array): boolean {
  const [questionEnd, isResponse] = [endOfQuestion(query), (datagram[2] ?? 0) >= 0x80]
  if (!isResponse || datagram.length < questionEnd) return false
  const differs = (byte: number, index: number) => lower(byte) !== lower(datagram[index] ?? -1)
  return (
    query[0] === datagram[0] &&
    query[1] === datagram[1] &&
    query[4] === datagram[4] &&
    query[5] === datagram[5] &&
    !query.subarray(HEADER_BYTES, questionEnd).some((byte, index) => differs(byte, index + HEADER_BYTES))
  )
}

function endOfQuestion(query: Uint8Array): number {
  let offset = HEADER_BYTES
  while ((query[offset] ?? 0) !== 0) offset += 1 + (query[offset] ?? 0)
  return offset + 5
}

function lower(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte
}
