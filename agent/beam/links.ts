import type { Socket } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { describeError, RollcallError } from '../../core/error.ts'
import type { NodeName } from '../../core/node.ts'
import { matches } from '../../core/pattern.ts'
import type { Log } from '../../functions/resolvers/source.ts'
import { type Connection, type ConnectionOptions, runConnection } from './connection.ts'
import { type DialOptions, dial } from './dial.ts'
import { accept, type Status } from './handshake.ts'
import { flagsOf, type Introduction } from './handshake-message.ts'
import type { LocalNode } from './node.ts'
import { createFrameReader, STEP_TIMEOUT_MS } from './socket.ts'
import { createTlsAcceptor, type TlsFiles } from './tls.ts'

export interface LinksOptions extends Pick<ConnectionOptions, 'tickTimeMs' | 'maxFrameBytes'> {
  readonly self: LocalNode
  readonly cookie: string
  readonly epmd: { readonly port: number }
  /** Where every peer listens, when there is no epmd. */
  readonly port?: number | undefined
  readonly tls?: TlsFiles | undefined
  /** Who may dial in, as patterns of names; everybody with the cookie by default. */
  readonly allow?: readonly string[] | undefined
  readonly log: Log
  readonly stepTimeoutMs?: number | undefined
  readonly onChange: (change: { node: NodeName; up: boolean }) => void
}

export interface LinkOptions {
  /** Where the peer listens, when its source told; else its epmd is asked. */
  readonly address?: { readonly host: string; readonly port: number } | undefined
  readonly signal?: AbortSignal | undefined
}

/** The connections of a member, one a peer, whoever dialled. */
export interface Links {
  get(peer: NodeName): Connection | undefined
  list(): NodeName[]
  /** Resolves with whichever connection comes up, for peers that dial each other at once keep one of the two. Rejects as `dial` does. */
  connect(peer: NodeName, options?: LinkOptions): Promise<Connection>
  /** Takes a socket that was accepted. Never throws: what is no peer costs its own socket. */
  take(socket: Socket): void
  /** Ends all of them, and takes no others until `connect`: peers that have not heard yet would come back. */
  leave(): void
  /** Ends all of them, and every handshake. */
  close(reason: RollcallError): void
}

interface Dial {
  readonly promise: Promise<Connection>
  /** Ends it well: a connection came up, whoever dialled. */
  readonly arrive: (connection: Connection) => void
  readonly end: (reason: unknown) => void
  /** Whether the peer has heard our name: from then on it counts where both dial. */
  introduced: boolean
}

// Handshakes of peers take milliseconds: more than this many at once are an attack or a cluster that boots, and the oldest make room.
const MAX_ARRIVING = 256
// A peer that closed our dial for its own one may still be on its way here.
const CROSSING_MS = 500
// Ends a dial whose peer was faster; one for all, for an error is not cheap to make.
const SETTLED = new RollcallError('aborted', '[beam] expected one link a peer, got one already')

/** No links yet. */
export function createLinks(options: LinksOptions): Links {
  const { self, log, onChange, tls, allow, stepTimeoutMs = STEP_TIMEOUT_MS } = options
  const up = new Map<NodeName, Connection>()
  const dials = new Map<NodeName, Dial>()
  const arriving = new Set<AbortController>()
  const startTls = tls && createTlsAcceptor(tls)
  let closed: RollcallError | undefined
  let away = false

  function bringUp(connection: Connection): Connection {
    const { peer } = connection
    const before = up.get(peer)
    if (closed !== undefined) connection.close()
    if (connection.closed.aborted) throw connection.closed.reason
    up.set(peer, connection)
    if (before !== undefined) {
      log.info({ node: peer }, 'started again, or is there twice: its new link takes the place of the old one')
      before.close()
      onChange({ node: peer, up: false })
    }
    onChange({ node: peer, up: true })
    connection.onEnd((error) => {
      log.debug({ node: peer, ...describeError(error) }, 'a link ended')
      if (up.get(peer) !== connection) return
      up.delete(peer)
      onChange({ node: peer, up: false })
    })
    dials.get(peer)?.arrive(connection)
    return connection
  }

  function startDial(peer: NodeName, address: LinkOptions['address']): Dial {
    const ending = new AbortController()
    const { epmd, port } = options
    const dialOptions: DialOptions = {
      ...options,
      ...(address === undefined ? { epmd, port } : address),
      signal: ending.signal,
      stepTimeoutMs,
      onHandshake: () => (started.introduced = true),
    }
    const { promise: arrived, resolve: arrive } = Promise.withResolvers<Connection>()
    async function run(): Promise<Connection> {
      try {
        return await Promise.race([arrived, makeOwn()])
      } finally {
        dials.delete(peer)
        ending.abort(SETTLED)
      }
    }
    async function makeOwn(): Promise<Connection> {
      try {
        return bringUp(await dial(peer, dialOptions))
      } catch (error) {
        started.introduced = false
        // Where the peer's own dial comes through, it ends this wait.
        await setTimeout(patienceAfter(error), undefined, { signal: ending.signal }).catch(() => undefined)
        throw error
      }
    }
    const promise = Promise.resolve().then(run)
    const started: Dial = { promise, arrive, end: (reason) => ending.abort(reason), introduced: false }
    dials.set(peer, started)
    return started
  }

  /** How long the peer's own dial may take after it has turned ours away: it says so, or only closes. */
  function patienceAfter(error: unknown): number {
    const { code } = describeError(error)
    if (code === 'handshake_nok') return stepTimeoutMs
    return code === 'handshake_closed' || code === 'cookie_rejected' ? CROSSING_MS : 0
  }

  /** By the greater name where both dial, as OTP does: its dial stands, the other one's is turned away. */
  function answer({ name }: Introduction): Status {
    if (away || name === self.name) return 'not_allowed'
    if (allow !== undefined && !allow.some((pattern) => matches(pattern, name))) return 'not_allowed'
    if (up.has(name)) return 'alive'
    if (dials.get(name)?.introduced !== true) return 'ok'
    return name < self.name ? 'nok' : 'ok_simultaneous'
  }

  function admit({ name, creation }: Introduction, status: Status): boolean {
    if (closed !== undefined || away) return false
    if (dials.get(name)?.introduced === true && self.name > name) return false
    // One that came up while this one was being agreed: only another start of the peer takes its place.
    return status === 'alive' || up.get(name)?.creation !== creation
  }

  async function welcome(raw: Socket, signal: AbortSignal): Promise<void> {
    raw.on('error', () => {})
    raw.setNoDelay(true)
    const onAbort = () => raw.destroy()
    signal.addEventListener('abort', onAbort)
    try {
      const socket = startTls === undefined ? raw : await startTls(raw, stepTimeoutMs)
      socket.on('error', () => {})
      const reader = createFrameReader(socket)
      const { peer, replaced } = await accept(socket, reader, {
        self: { flags: flagsOf(self), creation: self.creation, name: self.name },
        cookie: options.cookie,
        headerBytes: startTls === undefined ? 2 : 4,
        stepTimeoutMs,
        signal,
        answer,
        admit,
      })
      bringUp(runConnection(socket, reader, { ...options, peer: peer.name, creation: peer.creation, replaced }))
    } catch (error) {
      raw.destroy()
      log.debug({ from: raw.remoteAddress, ...describeError(error) }, 'a dial from outside failed')
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  return {
    get: (peer) => up.get(peer),
    list: () => [...up.keys()],

    async connect(peer, { address, signal } = {}) {
      if (closed !== undefined) throw closed
      if (peer === self.name) throw new RollcallError('own_name', `[beam] expected another node, got ${peer} itself`)
      signal?.throwIfAborted()
      away = false
      const present = up.get(peer)
      if (present !== undefined) return present
      const { promise } = dials.get(peer) ?? startDial(peer, address)
      return await (signal === undefined ? promise : untilAborted(promise, signal))
    },

    take(socket) {
      if (closed !== undefined) {
        socket.destroy()
        return
      }
      const [oldest] = arriving
      if (arriving.size >= MAX_ARRIVING)
        oldest?.abort(new RollcallError('crowded_out', '[beam] expected few handshakes at once, got many'))
      const controller = new AbortController()
      arriving.add(controller)
      void welcome(socket, controller.signal).finally(() => arriving.delete(controller))
    },

    leave() {
      away = true
      for (const connection of up.values()) connection.close()
    },

    close(reason) {
      closed ??= reason
      for (const { end } of dials.values()) end(reason)
      for (const controller of arriving) controller.abort(reason)
      for (const connection of up.values()) connection.close()
    },
  }
}

/** The signal ends the wait only: others may wait for the same. */
async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>()
  const onAbort = () => aborted.reject(signal.reason)
  signal.addEventListener('abort', onAbort)
  try {
    return await Promise.race([promise, aborted.promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
