import { once } from 'node:events'
import { createServer, isIP, isIPv6, type Server } from 'node:net'
import { describeError, RollcallError } from '../../core/error.ts'
import { basenameOf, hostOf, type NodeName } from '../../core/node.ts'
import type { Log } from '../../functions/resolvers/source.ts'
import { type Clock, systemClock } from '../clock.ts'
import type { CallOptions } from './ask.ts'
import type { ConnectionOptions } from './connection.ts'
import { EPMD_PORT } from './epmd.ts'
import { atom, decode, encode, type Term, tuple } from './etf.ts'
import type { ExposedFunction, Modules } from './exposed.ts'
import { callServer, type Handler, monitor, sendTo, serve, type Target } from './gen.ts'
import { createLinks, type LinkOptions, type Links } from './links.ts'
import { createNode, type Line, type LocalNode, type Mailbox } from './node.ts'
import { type Registration, register } from './registration.ts'
import { call } from './rpc.ts'
import { causeOf } from './socket.ts'
import type { TlsFiles } from './tls.ts'

export type { CallOptions, ExposedFunction, Handler, LinkOptions, Modules, Target, TlsFiles }

export interface MemberOptions extends Pick<ConnectionOptions, 'tickTimeMs' | 'maxFrameBytes'> {
  /** Its host is what others dial. */
  readonly name: NodeName
  readonly cookie: string
  /** True by default: a visible node that does not speak `global`, as this one, makes `global:sync()` hang on the others. */
  readonly hidden?: boolean | undefined
  /** The address to listen at: the host of the name where that is one, else every interface. */
  readonly listen?: string | undefined
  /** Where this node and every peer listen, without epmd; as OTP's `-erl_epmd_port`. */
  readonly port?: number | undefined
  /**
   * The epmd of this machine: at loopback, and the port of ERL_EPMD_PORT or 4369. Where none runs this process serves it: at
   * `addresses` (those of ERL_EPMD_ADDRESS) and loopback, else on every interface, as epmd does.
   */
  readonly epmd?: {
    readonly host?: string | undefined
    readonly port?: number | undefined
    readonly addresses?: readonly string[] | undefined
  }
  /** Who may dial this node, as patterns of names; whoever knows the cookie by default. The nodes that it dials itself need not be among them. */
  readonly allow?: readonly string[] | undefined
  /** `inet_tls`: both sides show a certificate of the ca, and the one that is dialled must name its host. */
  readonly tls?: TlsFiles | undefined
  readonly log?: Log | undefined
  /** Where the variables of epmd are looked for: the process's own by default. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined
  readonly clock?: Clock | undefined
  /** For each step of making a link: 7 s by default, as `net_setuptime`. */
  readonly stepTimeoutMs?: number | undefined
}

/**
 * This process as a node of the mesh. Terms are those of etf.ts: list = array, binary = Uint8Array, integer = number or bigint;
 * `atom`, `tuple`, `binary` and `charlist` make the rest. What goes to a node without a link makes one.
 */
export interface MemberNode {
  readonly name: NodeName
  /** Where it listens. */
  readonly port: number
  /** Whether this process serves the epmd of its machine now. */
  readonly servesEpmd: boolean
  /** The nodes it is linked to. */
  nodes(): NodeName[]
  connect(node: NodeName, options?: LinkOptions): Promise<void>
  /** Ends the link to a node; does nothing without one. */
  disconnect(node: NodeName): void
  /** Ends all links, and turns away whoever dials until this node connects to somebody again. */
  leave(): void
  /** Whether a node answers, as `net_adm:ping/1`. */
  ping(node: NodeName, options?: CallOptions): Promise<boolean>
  /** Sends a message. Resolves when it is on its way, which is no promise that it arrives. */
  send(target: Target, message: Term): Promise<void>
  /** `gen_server:call`, with its 5 s. Rejects with `call_failed`, `rpc_timeout`, or why there is no link. */
  call(target: Target, request: Term, options?: CallOptions): Promise<Term>
  /** `gen_server:cast`. */
  cast(target: Target, request: Term): Promise<void>
  /** `erpc:call`, with 15 s. Rejects with `rpc_failed`, `rpc_timeout`, or why there is no link. */
  rpc(node: NodeName, module: string, name: string, args: readonly Term[], options?: CallOptions): Promise<Term>
  /** Answers at a registered name. Throws `name_taken`; the undo takes the name back, and whoever monitors it hears `normal`. */
  register(name: string, handler: Handler): () => void
  /** Lets others call these by `rpc` and `erpc`: `{ math: { add: (a, b) => … } }`; nothing is callable by default. Gives the undo. */
  expose(modules: Modules): () => void
  /** Calls `listener` once, with the reason, when a process ends, is not there (`noproc`) or its link ends (`noconnection`). Gives the undo. */
  monitor(target: Target, listener: (reason: Term) => void): () => void
  /** Calls `listener` when a link comes or goes; gives the undo. */
  onLink(listener: (change: { node: NodeName; up: boolean }) => void): () => void
  /** Deregisters, ends all links and listens no more. */
  stop(): Promise<void>
}

const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} }

/**
 * Starts a node in this process. Resolves when it listens and is registered. Rejects with `listen_failed`, `name_taken`,
 * `epmd_unreachable` or `epmd_bind`; nothing stays open then.
 */
export async function startMember(options: MemberOptions): Promise<MemberNode> {
  const { name, log = SILENT, clock = systemClock, hidden = true, stepTimeoutMs } = options
  const ending = new AbortController()
  const self = createNode(name, { hidden })
  const listeners = new Set<(change: { node: NodeName; up: boolean }) => void>()
  const { ERL_EPMD_PORT, ERL_EPMD_ADDRESS } = options.env ?? process.env
  const epmdPort = options.epmd?.port ?? (Number(ERL_EPMD_PORT) || EPMD_PORT)
  const links = createLinks({
    ...options,
    self,
    epmd: { port: epmdPort },
    log,
    stepTimeoutMs,
    onChange: (change) => listeners.forEach((listener) => guarded(() => listener(change))),
  })
  const { server, port } = await listen(links, options)
  server.on('error', (error) => log.warn({ err: error }, 'a connection could not be accepted'))
  let registration: Registration | undefined
  try {
    registration = await enter()
    log.info({ node: name, port, epmd: registration && epmdPort }, 'is a node of the mesh')
  } catch (error) {
    await close()
    throw error
  }
  // Who sends has a pid; nobody is told of it, so nothing comes.
  const sender = self.open(() => undefined)
  const loopback = createLoopback(self, ending.signal)

  /** What a listener throws is its user's matter, and must not reach the link that it is told of. */
  function guarded(tell: () => void): void {
    try {
      tell()
    } catch (error) {
      log.error({ err: error }, 'a listener threw')
    }
  }

  async function enter(): Promise<Registration | undefined> {
    if (options.port !== undefined) return undefined
    const family = isIPv6(hostOf(name)) ? 6 : 4
    const given = ERL_EPMD_ADDRESS?.split(/[ ,]+/).filter((address) => address !== '')
    const { host = family === 6 ? '::1' : '127.0.0.1', addresses = given } = options.epmd ?? {}
    const epmd = { host, port: epmdPort, addresses }
    return await register({ basename: basenameOf(name), port, hidden, family, epmd, signal: ending.signal, clock, log })
  }

  async function close(): Promise<void> {
    ending.abort(new RollcallError('stopped', `[beam] expected ${name} to run, got it stopped`))
    await registration?.close()
    links.close(ending.signal.reason as RollcallError)
    server.close()
    await once(server, 'close')
  }

  /** Runs `action`, which sends something, on the line to a node, making the line where there is none. */
  async function through<T>(
    node: NodeName,
    signal: AbortSignal | undefined,
    action: (line: Line) => T | Promise<T>,
  ): Promise<T> {
    ending.signal.throwIfAborted()
    if (node === name) return await action(loopback)
    const connection = links.get(node) ?? (await links.connect(node, { signal }))
    return await connection.whenReady(() => action(connection))
  }

  async function send(target: Target, message: Term): Promise<void> {
    await through(target.node, undefined, (line) => sendTo(line, target, message, sender.pid))
  }

  let stopped: Promise<void> | undefined
  return {
    name,
    port,
    get servesEpmd() {
      return registration?.serving ?? false
    },
    nodes: () => links.list(),
    async connect(node, given) {
      await links.connect(node, given)
    },
    disconnect: (node) => links.get(node)?.close(),
    leave: () => links.leave(),
    async ping(node, given) {
      try {
        const request = tuple(atom('is_auth'), atom(name))
        await through(node, given?.signal, (line) => callServer(line, { node, name: 'net_kernel' }, request, given))
        return true
      } catch (error) {
        given?.signal?.throwIfAborted()
        log.debug({ node, ...describeError(error) }, 'a ping got no answer')
        return false
      }
    },
    send,
    call: (target, request, given) =>
      through(target.node, given?.signal, (line) => callServer(line, target, request, given)),
    cast: (target, request) => send(target, tuple(atom('$gen_cast'), request)),
    rpc: (node, module, called, args, given) =>
      through(node, given?.signal, (line) => call(line, module, called, args, given)),
    register(given, handler) {
      const onError = (error: unknown) => log.error({ name: given, err: error }, 'a handler threw')
      const mailbox: Mailbox = self.open(serve(handler, () => mailbox, onError))
      try {
        self.register(given, mailbox)
      } catch (error) {
        mailbox.close()
        throw error
      }
      return () => mailbox.close()
    },
    expose: self.expose,
    monitor(target, listener) {
      let undo: (() => void) | undefined
      let over = false
      const begin = async () => {
        try {
          await through(target.node, undefined, (line) => {
            if (!over) undo = monitor(line, target, (reason) => guarded(() => listener(reason)))
          })
        } catch {
          // As the BEAM has it: whoever cannot be reached is gone.
          if (!over) guarded(() => listener(atom('noconnection')))
        }
      }
      void begin()
      return () => {
        over = true
        undo?.()
      }
    },
    onLink(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    stop: () => (stopped ??= close()),
  }
}

async function listen(links: Links, { name, listen: given, port: wanted = 0 }: MemberOptions) {
  const host = given ?? (isIP(hostOf(name)) === 0 ? undefined : hostOf(name))
  const server: Server = createServer((socket) => links.take(socket))
  try {
    server.listen({ port: wanted, ...(host !== undefined && { host }) })
    await once(server, 'listening')
  } catch (cause) {
    const place = `${host ?? 'every interface'}, port ${wanted === 0 ? 'any' : wanted}`
    const message = `[beam] expected to listen at ${place} as ${name}, got ${causeOf(cause)}: is the port free, and is the address of this machine (else set listen)?`
    throw new RollcallError('listen_failed', message, { cause })
  }
  const address = server.address()
  if (address === null || typeof address === 'string') throw new TypeError('expected a TCP address')
  return { server, port: address.port }
}

/** The way from a node to itself: what it sends is read as if it had come over a connection. */
function createLoopback(self: LocalNode, closed: AbortSignal): Line {
  const line: Line = {
    peer: self.name,
    self,
    closed,
    send(control, payload = atom('undefined')) {
      const sent = decode(encode([tuple(...control), payload])) as [{ elements: readonly Term[] }, Term]
      queueMicrotask(() => closed.aborted || self.receive(sent[0].elements, sent[1], line))
    },
    open: (receive) => self.open(receive, line),
    onEnd(listener) {
      const tell = () => listener(closed.reason as RollcallError)
      closed.addEventListener('abort', tell)
      return () => closed.removeEventListener('abort', tell)
    },
  }
  return line
}
