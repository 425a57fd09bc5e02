import { connect as connectTcp } from 'node:net'
import { RollcallError } from '../../core/error.ts'
import { basenameOf, hostOf, type NodeName } from '../../core/node.ts'
import { type Connection, type ConnectionOptions, runConnection } from './connection.ts'
import { lookUpPort } from './epmd.ts'
import { initiate } from './handshake.ts'
import { flagsOf } from './handshake-message.ts'
import { causeOf, createFrameReader, established, STEP_TIMEOUT_MS } from './socket.ts'
import { startTls, type TlsFiles } from './tls.ts'

export interface DialOptions extends Pick<ConnectionOptions, 'self' | 'tickTimeMs' | 'maxFrameBytes'> {
  readonly cookie: string
  /** Where to ask for the port: the peer's host and 4369 by default. */
  readonly epmd?: { readonly host?: string | undefined; readonly port?: number | undefined } | undefined
  /** Where the peer is, when not at the host of its name. */
  readonly host?: string | undefined
  /** The distribution port of the peer: epmd is not asked. */
  readonly port?: number | undefined
  /** `inet_tls`: with it there is no plain connection, and the peer's certificate must name its host. */
  readonly tls?: TlsFiles | undefined
  readonly signal?: AbortSignal
  /** Called when the peer is about to hear our name. */
  readonly onHandshake?: () => void
  /** For the look-up, the connection, and each step of the handshake: 7 s by default, as `net_setuptime`. */
  readonly stepTimeoutMs?: number
}

/**
 * Connects to `peer`: look-up in its epmd (or a fixed port), TCP or TLS, handshake. Rejects with the signal's reason, or a
 * RollcallError of epmd.ts or handshake.ts, `port_unreachable`, `tls_failed` or `tls_file`; nothing stays open then.
 */
export async function dial(peer: NodeName, options: DialOptions): Promise<Connection> {
  const { self, cookie, signal, stepTimeoutMs = STEP_TIMEOUT_MS, tls, host = hostOf(peer) } = options
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
  const socket = tls === undefined ? tcp : await startTls(tcp, hostOf(peer), tls)
  if (tls !== undefined) {
    const untrusted = (cause: unknown) => failure('tls_failed', peer, port, cause)
    await established(socket, 'secureConnect', { ...wait, failure: untrusted })
  }
  const reader = createFrameReader(socket)
  try {
    options.onHandshake?.()
    const { peer: remote, replaced } = await initiate(socket, reader, {
      self: { flags: flagsOf(self), creation: self.creation, name: self.name },
      peer,
      cookie,
      headerBytes: tls === undefined ? 2 : 4,
      stepTimeoutMs,
      ...(signal && { signal }),
    })
    return runConnection(socket, reader, { ...options, peer, creation: remote.creation, replaced })
  } catch (error) {
    socket.destroy()
    throw error
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
