import type { Socket } from 'node:net'
import { RollcallError } from '../../core/error.ts'
import type { NodeName } from '../../core/node.ts'
import { atom, decodeFrom, encode, isAtom, isKind, isTuple, type Pid, type Ref, type Term, tuple } from './etf.ts'
import type { LocalNode } from './node.ts'
import { causeOf, type FrameReader } from './socket.ts'

/**
 * What can reach a mailbox: a message; the answer to a SPAWN_REQUEST (a pid, or an atom that says why not); the reason why a
 * monitored (`down`) or linked (`exit`) process ended; and last the end of the connection.
 */
export type Signal =
  | { readonly type: 'message' | 'spawned' | 'down' | 'exit'; readonly term: Term }
  | { readonly type: 'closed'; readonly error: RollcallError }

/** The nearest thing to a process that rollcall needs: a pid, and who takes what is sent to it. */
export interface Mailbox {
  readonly pid: Pid
  close(): void
}

/** A connection to a node, past the handshake. */
export interface Connection {
  readonly peer: NodeName
  readonly self: LocalNode
  /** Whether the peer gave up another connection under our name for this one. */
  readonly replaced: boolean
  /** Aborts when the connection ends; its reason is a RollcallError: `connection_closed` (by us), `connection_lost`, `peer_silent`, `protocol_violated`, `frame_too_large`. */
  readonly closed: AbortSignal
  /** Opens a mailbox. On a closed connection nothing ever reaches it. */
  open(receive: (signal: Signal) => void): Mailbox
  /** Sends a control message, with its payload if it has one. Nothing is sent once closed. */
  send(control: readonly Term[], payload?: Term): void
  /** Takes over the peer's tick time, in ms: it ticks every quarter, and is taken for dead when silent for longer than the whole. */
  setTickTime(tickTimeMs: number): void
  close(): void
}

export interface ConnectionOptions {
  readonly self: LocalNode
  readonly peer: NodeName
  readonly replaced: boolean
  /** 60 s by default, as `net_ticktime`. */
  readonly tickTimeMs?: number
  /** The largest frame taken: 64 MiB by default, for a frame is held in memory whole. */
  readonly maxFrameBytes?: number
}

const PASS_THROUGH = 112
const TICK = Buffer.alloc(4)
// A peer that asks and asks but never reads would fill the memory with answers.
const MAX_UNSENT_BYTES = 64 * 1024 * 1024

// Control messages: https://www.erlang.org/doc/apps/erts/erl_dist_protocol.html#protocol-between-connected-nodes
const LINK = 1
const SEND = 2
const REG_SEND = 6
const REG_SEND_TT = 16
const MONITOR_P = 19
const DEMONITOR_P = 20
const PAYLOAD_EXIT = 24
const PAYLOAD_MONITOR_P_EXIT = 28
const SPAWN_REQUEST = 29
const SPAWN_REQUEST_TT = 30
const SPAWN_REPLY = 31
const UNLINK_ID = 35
const UNLINK_ID_ACK = 36

// Those that bring something to the pid in their third place: what it is, and in which place it stands, or that it is the payload.
const DELIVERIES = new Map<Term | undefined, readonly [Exclude<Signal['type'], 'closed'>, number | 'payload']>([
  [SEND, ['message', 'payload']],
  [12, ['message', 'payload']], // SEND_TT
  [22, ['message', 'payload']], // SEND_SENDER
  [23, ['message', 'payload']], // SEND_SENDER_TT
  [3, ['exit', 3]], // EXIT
  [8, ['exit', 3]], // EXIT2
  [13, ['exit', 4]], // EXIT_TT
  [18, ['exit', 4]], // EXIT2_TT
  [PAYLOAD_EXIT, ['exit', 'payload']],
  [25, ['exit', 'payload']], // PAYLOAD_EXIT_TT
  [26, ['exit', 'payload']], // PAYLOAD_EXIT2
  [27, ['exit', 'payload']], // PAYLOAD_EXIT2_TT
  [21, ['down', 4]], // MONITOR_P_EXIT
  [PAYLOAD_MONITOR_P_EXIT, ['down', 'payload']],
  [SPAWN_REPLY, ['spawned', 4]],
  [32, ['spawned', 4]], // SPAWN_REPLY_TT
])

/** Runs the connected state of a socket whose handshake is done. Whatever the peer does ends at most this one connection. */
export function runConnection(socket: Socket, reader: FrameReader, options: ConnectionOptions): Connection {
  const { self, peer, replaced, tickTimeMs = 60_000, maxFrameBytes = 64 * 1024 * 1024 } = options
  const closing = new AbortController()
  const mailboxes = new Map<number, { receive: (signal: Signal) => void; monitors: Map<string, [Term, Ref]> }>()
  let wroteSinceTimer = false
  let wroteSinceTick = false
  let seen = reader.received()
  let silentQuarters = 0
  let timer = setInterval(onQuarter, quarterOf(tickTimeMs))

  function end(error: RollcallError): void {
    if (closing.signal.aborted) return
    clearInterval(timer)
    socket.destroy()
    closing.abort(error)
    const receivers = [...mailboxes.values()]
    mailboxes.clear()
    for (const { receive } of receivers) receive({ type: 'closed', error })
  }

  function write(frame: Buffer): void {
    wroteSinceTimer = true
    wroteSinceTick = true
    socket.write(frame)
    if (socket.writableLength > MAX_UNSENT_BYTES) {
      end(
        new RollcallError(
          'connection_lost',
          `[beam] expected ${peer} to read, got ${socket.writableLength} bytes unsent`,
        ),
      )
    }
  }

  function send(control: readonly Term[], payload?: Term): void {
    if (closing.signal.aborted) return
    const parts = [encode(tuple(...control)), ...(payload === undefined ? [] : [encode(payload)])]
    const head = Buffer.from([0, 0, 0, 0, PASS_THROUGH])
    head.writeUInt32BE(parts.reduce((sum, part) => sum + part.length, 1))
    write(Buffer.concat([head, ...parts]))
  }

  function onQuarter(): void {
    if (!wroteSinceTimer) write(TICK)
    wroteSinceTimer = false
    silentQuarters = reader.received() === seen ? silentQuarters + 1 : 0
    seen = reader.received()
    if (silentQuarters < 4) return
    end(
      new RollcallError(
        'peer_silent',
        `[beam] expected a tick from ${peer}, got nothing for its tick time: is it reachable?`,
      ),
    )
  }

  function onTick(): void {
    // The echo keeps us alive at a peer whose tick time is shorter than ours. Two that echo do not echo each other for
    // ever: the one whose tick was answered has written since.
    if (!wroteSinceTick) write(TICK)
    wroteSinceTick = false
  }

  function mailboxOf(target: Term | undefined) {
    if (!isKind(target, 'pid') || target.node !== self.name || target.creation !== self.creation) return undefined
    return mailboxes.get(numberOf(target))
  }

  function onControl(control: readonly Term[], payload: Term): void {
    const [op, first, second, third] = control
    const [type, place] = DELIVERIES.get(op) ?? []
    if (type !== undefined && place !== undefined) {
      const term = place === 'payload' ? payload : control[place]
      if (term !== undefined) mailboxOf(second)?.receive({ type, term })
      return
    }
    if (first === undefined || second === undefined) return
    switch (op) {
      case REG_SEND:
      case REG_SEND_TT:
        if (isAtom(third, 'net_kernel')) onNetKernel(payload)
        return
      case MONITOR_P:
        return onMonitor(first, second, third)
      case DEMONITOR_P:
        mailboxOf(second)?.monitors.delete(keyOf(third))
        return
      case LINK:
        if (mailboxOf(second) === undefined) send([PAYLOAD_EXIT, second, first], atom('noproc'))
        return
      case UNLINK_ID:
        if (third !== undefined) send([UNLINK_ID_ACK, first, third, second])
        return
      case SPAWN_REQUEST:
      case SPAWN_REQUEST_TT:
        return send([SPAWN_REPLY, first, second, 0, atom('notsup')])
      default:
      // Acknowledgements, aliases that we never made, group leaders: nothing to do.
    }
  }

  function onMonitor(watcher: Term, target: Term, ref: Term | undefined): void {
    if (!isKind(ref, 'ref') || isAtom(target, 'net_kernel')) return
    const mailbox = mailboxOf(target)
    if (mailbox !== undefined) mailbox.monitors.set(keyOf(ref), [watcher, ref])
    else send([PAYLOAD_MONITOR_P_EXIT, target, watcher, ref], atom('noproc'))
  }

  /** `net_adm:ping/1`: unanswered, it would cut the connection. */
  function onNetKernel(message: Term): void {
    if (!isTuple(message, 3) || !isAtom(message.elements[0], '$gen_call')) return
    const [, from, request] = message.elements
    if (!isTuple(from, 2) || !isTuple(request, 2) || !isAtom(request.elements[0], 'is_auth')) return
    const [pid, tag] = from.elements
    if (pid !== undefined && tag !== undefined) send([SEND, atom(''), pid], tuple(tag, atom('yes')))
  }

  async function read(): Promise<void> {
    for (;;) {
      const frame = await reader.next(4, maxFrameBytes)
      if (closing.signal.aborted) return
      if (frame === undefined) return end(lost(peer))
      if (frame.length === 0) {
        onTick()
        continue
      }
      if (frame[0] !== PASS_THROUGH) throw violated(peer, `a pass-through frame, got type ${frame[0]}`)
      const control = decodeFrom(frame, 1)
      const payload = control.next < frame.length ? decodeFrom(frame, control.next) : { term: atom('undefined') }
      if (!isTuple(control.term)) throw violated(peer, 'a control message, got another term')
      onControl(control.term.elements, payload.term)
    }
  }

  read().catch((error: unknown) => {
    if (!(error instanceof RollcallError)) return end(lost(peer, error))
    end(error.code === 'etf' ? violated(peer, `a term: ${error.message}`, error) : error)
  })

  return {
    peer,
    self,
    replaced,
    closed: closing.signal,
    send,
    open(receive) {
      const pid = self.createPid()
      const monitors = new Map<string, [Term, Ref]>()
      if (!closing.signal.aborted) mailboxes.set(numberOf(pid), { receive, monitors })
      return {
        pid,
        close() {
          mailboxes.delete(numberOf(pid))
          for (const [watcher, ref] of monitors.values())
            send([PAYLOAD_MONITOR_P_EXIT, pid, watcher, ref], atom('normal'))
          monitors.clear()
        },
      }
    },
    setTickTime(tickTimeMs) {
      if (closing.signal.aborted) return
      clearInterval(timer)
      timer = setInterval(onQuarter, quarterOf(tickTimeMs))
    },
    close() {
      end(new RollcallError('connection_closed', `[beam] expected a connection to ${peer}, got it closed from here`))
    },
  }
}

function quarterOf(tickTimeMs: number): number {
  // What setInterval can count; beyond it, it fires all the time.
  return Math.min(tickTimeMs / 4, 2 ** 31 - 1)
}

function numberOf({ id, serial }: Pid): number {
  return serial * 2 ** 32 + id
}

function keyOf(ref: Term | undefined): string {
  return isKind(ref, 'ref') ? `${ref.node} ${ref.creation} ${ref.words.join('.')}` : ''
}

function lost(peer: NodeName, cause?: unknown): RollcallError {
  const got = cause === undefined ? 'closed by it' : causeOf(cause)
  return new RollcallError('connection_lost', `[beam] expected the connection to ${peer} to stay, got ${got}`, {
    cause,
  })
}

function violated(peer: NodeName, message: string, cause?: unknown): RollcallError {
  return new RollcallError('protocol_violated', `[beam] expected of ${peer} ${message}: is it a node?`, { cause })
}
