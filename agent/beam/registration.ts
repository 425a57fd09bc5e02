import type { Socket } from 'node:net'
import { describeError, RollcallError } from '../../core/error.ts'
import { isLoopback } from '../../core/node.ts'
import type { Log } from '../../functions/resolvers/source.ts'
import { type Clock, jitter } from '../clock.ts'
import { type Announcement, announce } from './epmd.ts'
import { type EpmdServer, serveEpmd } from './epmd-server.ts'

export interface RegisterOptions extends Announcement {
  /** Which loopback an epmd at `localhost` is asked on; both by default. */
  readonly family?: 4 | 6
  /** `addresses`: where this process serves it, when it does; see ERL_EPMD_ADDRESS. */
  readonly epmd: { readonly host: string; readonly port: number; readonly addresses?: readonly string[] | undefined }
  /** Ends the registration. */
  readonly signal: AbortSignal
  readonly clock: Clock
  readonly log: Log
  readonly onServing?: ((serving: boolean) => void) | undefined
}

/** A name in the epmd of this machine, for as long as this process wants it. */
export interface Registration {
  /** Whether this process serves the epmd now. */
  readonly serving: boolean
  /** Frees the name, and ends the epmd where this process serves it: another one who is registered takes it over. */
  close(): Promise<void>
}

// As OTP's own client, whatever the number of nodes.
const RETRY_MS = 2_000
// Members that lose their epmd at the same time come back spread over this, and one that serves anew is found by the others.
const SPREAD_MS = 100
// The first registration outlasts those who start and end beside it, and no more: a person may be waiting.
const PATIENCE_MS = 2_000

/**
 * Keeps `basename` registered, and serves the epmd where its port refuses. Resolves when it is registered. Rejects with
 * `name_taken`, `epmd_unreachable`, `epmd_bind`, `epmd_closed`, `epmd_garbled` or the signal's reason; once registered it comes
 * back from all of these.
 */
export async function register(options: RegisterOptions): Promise<Registration> {
  const { basename, epmd, clock, log } = options
  const ending = new AbortController()
  const signal = AbortSignal.any([options.signal, ending.signal])
  let server: EpmdServer | undefined

  async function enter(): Promise<Socket> {
    const where = { host: epmd.host, port: epmd.port, signal, ...(options.family && { family: options.family }) }
    try {
      return await announce(options, where)
    } catch (error) {
      if (!isRefused(error) || !isLoopback(epmd.host)) throw error
      await serve()
    }
    return await announce(options, where)
  }

  /** Does nothing where somebody else was faster: he is asked next. */
  async function serve(): Promise<void> {
    if (server !== undefined) return
    try {
      server = await serveEpmd({ ...epmd, log, clock })
    } catch (error) {
      if (codeOf(error) === 'epmd_taken') return
      throw error
    }
    log.info({ port: epmd.port }, 'serves the epmd of this machine')
    options.onServing?.(true)
  }

  async function stopServing(): Promise<void> {
    if (server === undefined) return
    await server.close()
    server = undefined
    options.onServing?.(false)
  }

  async function enterFirst(): Promise<Socket> {
    const until = clock.now() + PATIENCE_MS
    for (;;) {
      try {
        return await enter()
      } catch (error) {
        signal.throwIfAborted()
        if (isFinal(error) || !isLoopback(epmd.host) || clock.now() >= until) throw error
        await clock.sleep(jitter(SPREAD_MS, clock), signal)
      }
    }
  }

  /** Resolves with nothing at the end only. */
  async function enterAgain(firstWaitMs: number): Promise<Socket | undefined> {
    let told: string | undefined
    for (let waitMs = firstWaitMs; ; waitMs = jitter(RETRY_MS, clock)) {
      await clock.sleep(waitMs, signal)
      if (signal.aborted) return undefined
      try {
        return await enter()
      } catch (error) {
        if (signal.aborted) return undefined
        const { code, message } = describeError(error)
        if (code !== told)
          log.warn({ name: basename, code, error: message }, 'cannot register again, and goes on trying')
        told = code
      }
    }
  }

  async function keep(first: Socket): Promise<void> {
    let socket = first
    let cameBackAt = -Infinity
    for (;;) {
      await closed(socket, signal)
      if (signal.aborted) break
      log.info({ name: basename, epmd: epmd.host }, 'the epmd has ended; registers again')
      // An epmd that drops whom it has just taken back is not asked more often than one that refuses.
      const isHasty = clock.now() - cameBackAt < RETRY_MS
      const next = await enterAgain(isHasty ? jitter(RETRY_MS, clock) : SPREAD_MS * clock.random())
      if (next === undefined) break
      socket = next
      cameBackAt = clock.now()
      log.info({ name: basename, epmd: epmd.host }, 'is registered again')
    }
    await stopServing()
  }

  try {
    const keeping = keep(await enterFirst())
    return {
      get serving() {
        return server !== undefined
      },
      async close() {
        ending.abort(new RollcallError('closed', `[epmd] expected ${basename} to be registered, got its end`))
        await keeping
      },
    }
  } catch (error) {
    await stopServing()
    throw error
  }
}

/** Waits for the end of a socket, and brings it about when `signal` does. */
async function closed(socket: Socket, signal: AbortSignal): Promise<void> {
  if (socket.closed) return
  const { promise, resolve } = Promise.withResolvers<void>()
  const end = () => void socket.destroy()
  socket.once('close', () => resolve())
  signal.addEventListener('abort', end, { once: true })
  if (signal.aborted) end()
  await promise
  signal.removeEventListener('abort', end)
}

/** What no second try a moment later would mend. */
function isFinal(error: unknown): boolean {
  const code = codeOf(error)
  return code === 'name_taken' || code === 'epmd_bind' || (code === 'epmd_unreachable' && !isRefused(error))
}

/** Whether nobody listens there. A name with several addresses has a cause for each. */
function isRefused(error: unknown): boolean {
  if (codeOf(error) !== 'epmd_unreachable') return false
  const { cause } = error as RollcallError
  const causes: unknown[] = cause instanceof AggregateError ? cause.errors : [cause]
  return causes.some((each) => codeOf(each) === 'ECONNREFUSED')
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}
