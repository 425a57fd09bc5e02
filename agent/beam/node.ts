import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { checkServerIdentity, connect as connectTls } from 'node:tls'
import { RollcallError } from '../../core/error.ts'
import { basenameOf, hostOf, type NodeName } from '../../core/node.ts'
import { type Connection, type ConnectionOptions, runConnection } from './connection.ts'
import { lookUpPort } from './epmd.ts'
import type { Pid, Ref } from './etf.ts'
import { HIDDEN_FLAGS, initiate } from './handshake.ts'
import { causeOf, createFrameReader, established, STEP_TIMEOUT_MS } from './socket.ts'

/** This process as a node: a name, and the number that tells its pids from those of its predecessor under that name. */
export interface LocalNode {
  readonly name: NodeName
  readonly creation: number
  createPid(): Pid
  createRef(): Ref
}

/** Paths of PEM files, read at each dial: certificates rotate. */
export interface TlsFiles {
  readonly ca: string
  readonly cert?: string | undefined
  readonly key?: string | undefined
}

export interface DialOptions extends Pick<ConnectionOptions, 'self' | 'tickTimeMs' | 'maxFrameBytes'> {
  readonly cookie: string
  /** Where to ask for the port: the peer's host and 4369 by default. */
  readonly epmd?: { readonly host?: string | undefined; readonly port?: number | undefined } | undefined
  /** The distribution port of the peer: epmd is not asked. */
  readonly port?: number | undefined
  /** `inet_tls`: with it there is no plain connection, and the peer's certificate must name its host. */
  readonly tls?: TlsFiles | undefined
  readonly signal?: AbortSignal
  /** For the look-up, the connection, and each step of the handshake: 7 s by default, as `net_setuptime`. */
  readonly stepTimeoutMs?: number
}

/** A hidden node of this name, in no epmd and listening nowhere. Its creation is random: 1 to 3 belong to old nodes, 0 to nobody. */
export function createNode(name: NodeName): LocalNode {
  const creation = 4 + (randomBytes(4).readUInt32BE() % (0xffffffff - 4))
  let pids = 0
  let refs = 0
  return {
    name,
    creation,
    createPid() {
      pids++
      return { type: 'pid', node: name, id: pids % 2 ** 32, serial: Math.floor(pids / 2 ** 32), creation }
    },
    createRef() {
      refs++
      return { type: 'ref', node: name, creation, words: [refs % 2 ** 18, Math.floor(refs / 2 ** 18), 0] }
    },
  }
}

/**
 * Connects to `peer`: look-up in its epmd (or a fixed port), TCP or TLS, handshake. Rejects with the signal's reason, or a
 * RollcallError of epmd.ts or handshake.ts, `port_unreachable`, `tls_failed` or `tls_file`; nothing stays open then.
 */
export async function dial(peer: NodeName, options: DialOptions): Promise<Connection> {
  const { self, cookie, signal, stepTimeoutMs = STEP_TIMEOUT_MS, tls } = options
  const host = hostOf(peer)
  const wait = { ...(signal && { signal }), timeoutMs: stepTimeoutMs }
  const port =
    options.port ??
    (await lookUpPort(basenameOf(peer), {
      host: options.epmd?.host ?? host,
      ...(options.epmd?.port !== undefined && { port: options.epmd.port }),
      ...wait,
    }))
  const tcp = connectTcp({ host, port, noDelay: true })
  const unreachable = (cause: unknown) => failure('port_unreachable', peer, port, cause)
  await established(tcp, 'connect', { ...wait, failure: unreachable })
  const socket = tls === undefined ? tcp : await startTls(tcp, host, tls)
  if (tls !== undefined) {
    const untrusted = (cause: unknown) => failure('tls_failed', peer, port, cause)
    await established(socket, 'secureConnect', { ...wait, failure: untrusted })
  }
  const reader = createFrameReader(socket)
  try {
    const { replaced } = await initiate(socket, reader, {
      self: { flags: HIDDEN_FLAGS, creation: self.creation, name: self.name },
      peer,
      cookie,
      headerBytes: tls === undefined ? 2 : 4,
      stepTimeoutMs,
      ...(signal && { signal }),
    })
    return runConnection(socket, reader, { ...options, peer, replaced })
  } catch (error) {
    socket.destroy()
    throw error
  }
}

async function startTls(socket: Socket, host: string, files: TlsFiles): Promise<Socket> {
  const pem = Promise.all([readPem(files.ca), readPem(files.cert), readPem(files.key)])
  const [ca, cert, key] = await pem.catch((error: unknown) => {
    socket.destroy()
    throw error
  })
  return connectTls({
    socket,
    ca,
    cert,
    key,
    // RFC 6066 has no addresses as server names.
    ...(isIP(host) === 0 && { servername: host }),
    checkServerIdentity(_, certificate) {
      // OTP itself demands the host of the node name as a DNS name, even where it is an address; so that is in use, and it counts.
      const named = certificate.subjectaltname?.split(', ').includes(`DNS:${host}`)
      return named === true ? undefined : checkServerIdentity(host, certificate)
    },
  })
}

async function readPem(path: string | undefined): Promise<Buffer | undefined> {
  if (path === undefined) return undefined
  try {
    return await readFile(path)
  } catch (cause) {
    throw new RollcallError('tls_file', `[tls] expected a PEM file at ${path}, got ${causeOf(cause)}`, { cause })
  }
}

function failure(code: 'port_unreachable' | 'tls_failed', peer: NodeName, port: number, cause: unknown): RollcallError {
  const check =
    code === 'tls_failed'
      ? 'does it use TLS, is its certificate signed by the configured ca, and does it name the host?'
      : 'does the node listen there, and does a firewall let this through?'
  const message = `[beam] expected ${peer} to answer on port ${port}, got ${causeOf(cause)}: ${check}`
  return new RollcallError(code, message, { cause })
}
