import { readFile } from 'node:fs/promises'
import { isIP, type Socket } from 'node:net'
import { checkServerIdentity, connect, createServer, type Server, type TLSSocket } from 'node:tls'
import { RollcallError } from '../../core/error.ts'
import { causeOf } from './socket.ts'

/** Paths of PEM files, read at each connection: certificates rotate. */
export interface TlsFiles {
  readonly ca: string
  readonly cert?: string | undefined
  readonly key?: string | undefined
}

interface Pem {
  readonly ca: Buffer | undefined
  readonly cert: Buffer | undefined
  readonly key: Buffer | undefined
}

/** Starts TLS as the client on a connected socket, whose peer's certificate must name `host`. Throws `tls_file`; a failed handshake comes as the socket's error. */
export async function startTls(socket: Socket, host: string, files: TlsFiles): Promise<TLSSocket> {
  const pem = await readPems(socket, files)
  return connect({
    socket,
    ...pem,
    // RFC 6066 has no addresses as server names.
    ...(isIP(host) === 0 && { servername: host }),
    checkServerIdentity(_, certificate) {
      // OTP itself demands the host of the node name as a DNS name, even where it is an address; so that is in use, and it counts.
      const named = certificate.subjectaltname?.split(', ').includes(`DNS:${host}`)
      return named === true ? undefined : checkServerIdentity(host, certificate)
    },
  })
}

/** Starts TLS as the server on accepted sockets, whose peers must show a certificate of the same ca. */
export function createTlsAcceptor(files: TlsFiles): (socket: Socket, timeoutMs: number) => Promise<TLSSocket> {
  let current: { server: Server; pem: Pem } | undefined

  async function serverOf(socket: Socket): Promise<Server> {
    const pem = await readPems(socket, files)
    if (current === undefined || !isSame(current.pem, pem)) {
      const server = createServer({ ...pem, requestCert: true, rejectUnauthorized: true })
      // One pair of listeners for each handshake that is under way.
      server.setMaxListeners(0)
      current = { server, pem }
    }
    return current.server
  }

  return async (socket, timeoutMs) => {
    const server = await serverOf(socket)
    const { promise, resolve, reject } = Promise.withResolvers<TLSSocket>()
    const timer = setTimeout(() => socket.destroy(), timeoutMs)
    const mine = (raw: Socket) => raw.remotePort === socket.remotePort && raw.remoteAddress === socket.remoteAddress
    const onSecure = (secure: TLSSocket) => mine(secure) && resolve(secure)
    const onFailure = (error: Error, failed: TLSSocket) => mine(failed) && reject(error)
    const onClose = () => reject(new Error('closed before TLS was agreed'))
    server.on('secureConnection', onSecure)
    server.on('tlsClientError', onFailure)
    socket.once('close', onClose)
    try {
      server.emit('connection', socket)
      return await promise
    } catch (cause) {
      socket.destroy()
      const message = `[tls] expected a peer with a certificate of the configured ca, got ${causeOf(cause)}`
      throw new RollcallError('tls_failed', message, { cause })
    } finally {
      clearTimeout(timer)
      server.off('secureConnection', onSecure)
      server.off('tlsClientError', onFailure)
      socket.off('close', onClose)
    }
  }
}

/** Reads the files while the socket waits; it is destroyed where one cannot be read. */
async function readPems(socket: Socket, files: TlsFiles): Promise<Pem> {
  try {
    const [ca, cert, key] = await Promise.all([readPem(files.ca), readPem(files.cert), readPem(files.key)])
    return { ca, cert, key }
  } catch (error) {
    socket.destroy()
    throw error
  }
}

async function readPem(path: string | undefined): Promise<Buffer | undefined> {
  if (path === undefined) return undefined
  try {
    return await readFile(path)
  } catch (cause) {
    throw new RollcallError('tls_file', `[tls] expected a PEM file at ${path}, got ${causeOf(cause)}`, { cause })
  }
}

function isSame(a: Pem, b: Pem): boolean {
  const same = (one: Buffer | undefined, other: Buffer | undefined) =>
    one === undefined || other === undefined ? one === other : one.equals(other)
  return same(a.ca, b.ca) && same(a.cert, b.cert) && same(a.key, b.key)
}
