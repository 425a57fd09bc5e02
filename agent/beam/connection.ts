import type { Socket } from 'node:net'
import { RollcallError } from '../../core/error.ts'
import type { NodeName } from '../../core/node.ts'
import { atom, decodeFrom, encode, isTuple, type Term, tuple } from './etf.ts'
import type { Line, LocalNode } from './node.ts'
import { causeOf, type FrameReader } from './socket.ts'

/** A connection to a node, past the handshake. */
export interface Connection extends Line {
  /** Which start of the peer this is. */
  readonly creation: number
  /** Whether the peer gave up another connection under our name for this one. */
  readonly replaced: boolean
  /** With `connection_closed` (by us), `connection_lost`, `peer_silent`, `protocol_violated`, `frame_too_large` or `flooded`. */
  readonly closed: AbortSignal
  /** Runs `action`, which sends something, once little is left unsent: in turn, so that much sent at once waits here and not in memory. */
  whenReady<T>(action: () => T | Promise<T>): Promise<T>
  /** Takes over the peer's tick time, in ms: it ticks every quarter, and is taken for dead when silent for longer than the whole. */
  setTickTime(tickTimeMs: number): void
  close(): void
}

export interface ConnectionOptions {
  readonly self: LocalNode
  readonly peer: NodeName
  readonly creation: number
  readonly replaced: boolean
  /** 60 s by default, as `net_ticktime`. */
  readonly tickTimeMs?: number
  /** The largest frame taken: 64 MiB by default, for a frame is held in memory whole. */
  readonly maxFrameBytes?: number
}

const PASS_THROUGH = 112
const TICK = Buffer.alloc(4)
// A peer that asks and asks but never reads would fill the memory with answers; four of the largest may be under way.
const MAX_UNSENT_BYTES = 256 * 1024 * 1024
// Who waits his turn sends when less than this is left: the socket is kept busy, and the memory free.
const FULL_BYTES = 1024 * 1024

/** Runs the connected state of a socket whose handshake is done. Whatever the peer does ends at most this one connection. */
export function runConnection(socket: Socket, reader: FrameReader, options: ConnectionOptions): Connection {
  const { self, peer, creation, replaced, tickTimeMs = 60_000, maxFrameBytes = 64 * 1024 * 1024 } = options
  const closing = new AbortController()
  const endings = new Set<(error: RollcallError) => void>()
  const waiting: (() => void)[] = []
  let wroteSinceTimer = false
  let wroteSinceTick = false
  let seen = reader.received()
  let silentQuarters = 0
  let timer = setInterval(onQuarter, quarterOf(tickTimeMs))
  socket.on('drain', letNextSend)

  function end(error: RollcallError): void {
    if (closing.signal.aborted) return
    clearInterval(timer)
    // What was sent just before goes on its way.
    socket.uncork()
    socket.destroy()
    closing.abort(error)
    const listeners = [...endings]
    endings.clear()
    for (const listener of listeners) listener(error)
    letNextSend()
  }

  function letNextSend(): void {
    while (socket.writableLength < FULL_BYTES || closing.signal.aborted) {
      const next = waiting.shift()
      if (next === undefined) return
      next()
    }
  }

  function write(frame: Buffer): void {
    wroteSinceTimer = true
    wroteSinceTick = true
    // What is sent in one turn goes out in one write: a system call costs more than all else that a small message costs here.
    if (socket.writableCorked === 0) {
      socket.cork()
      process.nextTick(() => socket.uncork())
    }
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
      self.receive(control.term.elements, payload.term, connection)
    }
  }

  const connection: Connection = {
    peer,
    self,
    creation,
    replaced,
    closed: closing.signal,
    send,
    open: (receive) => self.open(receive, connection),
    onEnd(listener) {
      if (!closing.signal.aborted) endings.add(listener)
      return () => endings.delete(listener)
    },
    whenReady<T>(action: () => T | Promise<T>) {
      const { promise, resolve, reject } = Promise.withResolvers<T>()
      waiting.push(() => {
        try {
          resolve(action())
        } catch (error) {
          reject(error)
        }
      })
      letNextSend()
      return promise
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
  read().catch((error: unknown) => {
    if (!(error instanceof RollcallError)) return end(lost(peer, error))
    end(error.code === 'etf' ? violated(peer, `a term: ${error.message}`, error) : error)
  })
  return connection
}

function quarterOf(tickTimeMs: number): number {
  // What setInterval can count; beyond it, it fires all the time.
  return Math.min(tickTimeMs / 4, 2 ** 31 - 1)
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
