import type * as z from 'zod/mini'
import { describeError } from '../../core/error.ts'
import type { Member, Observation } from '../../core/member.ts'
import type { NodeName } from '../../core/node.ts'
import type { SystemResolver } from '../resolv-conf.ts'

/** What a source may use of the world. Everything it does outside itself goes through here. */
export interface SourceContext {
  /** The id of the source, for its observations. */
  source: string
  /** The own node's name; absent where no node asks (the function). */
  self?: NodeName
  /** Where the own node is dialled, if its name alone does not tell; undefined while that is not known. */
  address?: () => Member['address']
  /** Nobody is to hear of this ask: a source that would announce `self` only listens (`rollcall look`). */
  silent?: boolean
  /** Ends every wait and every request of the source. */
  signal: AbortSignal
  /** Ms since the Unix epoch. */
  now: () => number
  /** How often a poll would ask, in ms: a watch proves at least as often that it lives. Absent where nothing asks again. */
  intervalMs?: number
  log: Log
  fetch: typeof fetch
  /** Sends one DNS packet and gives the answer; `server` is `udp://host:port` or `tcp://host:port`. Absent where there are no sockets (Workers). */
  exchange?: (server: string, packet: Uint8Array, signal: AbortSignal) => Promise<Uint8Array>
  /** What the system's resolv.conf(5) says, read anew at each look. Absent where there is none (Workers). */
  resolvConf?: () => Promise<SystemResolver>
}

/** The few calls of a pino-like logger that rollcall uses. */
export interface Log {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/**
 * A place that knows nodes, in code: one file, one factory.
 * A `look` that could not look throws a `RollcallError`; an empty `complete` means that the source itself said nobody.
 */
export interface Source<Options> {
  options: z.ZodMiniType<Options>
  /** Asks once. */
  look?(options: Options, context: SourceContext): Promise<Observation>
  /** A stream of observations; it ends only with `context.signal`. */
  watch?(options: Options, context: SourceContext): AsyncIterable<Observation>
  /** How long to listen to a source without a look for one answer, in ms; by default until it gives something. */
  listenMs?(options: Options): number
  /**
   * Tells others that this node leaves the mesh; its own watch, if one runs, says nothing else from then on. Not called when a
   * watch merely ends. Best effort: it has 2 s, and the node leaves whatever comes of it.
   */
  leave?(options: Options, context: SourceContext): Promise<void>
}

/** Looks once; whatever a look throws comes back as a `failed` observation, so that a failure can never pass for an empty answer. */
export async function observe<Options>(
  source: Source<Options>,
  options: Options,
  context: SourceContext,
): Promise<Observation> {
  if (source.look === undefined) throw new TypeError(`source ${context.source} cannot be asked, only watched`)
  try {
    return await source.look(options, context)
  } catch (error) {
    return { source: context.source, at: context.now(), outcome: 'failed', error: describeError(error) }
  }
}
