import type { SourceConfig } from '../../core/config.ts'
import { RollcallError } from '../../core/error.ts'
import type { Observation } from '../../core/member.ts'
import type { NodeName } from '../../core/node.ts'
import { isSourcePath } from '../../core/sources/own.ts'
import { resolvers } from '../../functions/resolvers/index.ts'
import type { Log, Source, SourceContext } from '../../functions/resolvers/source.ts'
import { type Clock, systemClock, within } from '../clock.ts'
import { createLook, type Look, poll, requireObservation } from './poll.ts'

/** The sources that an agent can ask, by kind, loaded on first use; each load gives one with a memory of its own. */
export const strategies: Readonly<Record<string, () => Promise<Source<unknown>>>> = {
  ...resolvers,
  function: async () => (await import('./function.ts')).createFunctionSource(),
  exec: async () => (await import('./exec.ts')).execSource,
  kubernetes: async () => (await import('./kubernetes.ts')).createKubernetesSource(),
  epmd: async () => (await import('./epmd.ts')).createEpmdSource(),
  rancher: async () => (await import('./rancher.ts')).rancherSource,
  consul: async () => (await import('./consul.ts')).createConsulSource(),
  gossip: async () => (await import('./gossip.ts')).createGossipSource(),
}

/** A configured source, ready to be asked. */
export interface OpenSource {
  readonly id: string
  readonly topology: string
  /** Asks once; `failed` when it could not. A source that can only be listened to gives what it heard last within `listenMs`. */
  look: Look
  /** Its observations until `signal`; nothing, ever, where the interval is 0. */
  watch(signal: AbortSignal): AsyncIterable<Observation>
  /** How long its watch may be silent before it is taken for dead, in ms. */
  readonly silenceMs: number
  /** Tells others that this node leaves the mesh; absent where the source cannot. */
  readonly leave?: (signal: AbortSignal) => Promise<void>
}

export interface OpenSourceOptions {
  topology: string
  intervalMs: number
  /** This node; absent where nobody dials (`rollcall look`). */
  self?: NodeName | undefined
  /** Where this node is dialled, if its name alone does not tell. */
  address?: SourceContext['address']
  log: Log
  clock?: Clock
  /** How long a look listens, in silence, to a source that can only be listened to, in ms; by default as the source says. */
  listenMs?: number | undefined
  load?: (source: SourceConfig) => Promise<Source<unknown>>
}

// A source has timeouts of its own, whose messages say more: this one is for a source that hangs in spite of them.
const LOOK_TIMEOUT_MS = 30_000

// Loaded when DNS is asked: other sources need no sockets of their own.
const sockets: Required<Pick<SourceContext, 'exchange' | 'resolvConf'>> = {
  exchange: async (...given) => (await import('../../functions/exchange.ts')).exchange(...given),
  resolvConf: async () => (await import('../../functions/exchange.ts')).resolvConf(),
}

/** Loads a source and gives it its surroundings. Throws `config` where no agent can ask its kind. */
export async function openSource(config: SourceConfig, options: OpenSourceOptions): Promise<OpenSource> {
  const { topology, intervalMs, self, address, log, clock = systemClock, load = loadSource, listenMs } = options
  const source = await load(config)
  const { now } = clock
  const context = {
    source: config.id,
    ...(self !== undefined && { self }),
    ...(address !== undefined && { address }),
    // Who says how long to listen only looks.
    ...(listenMs !== undefined && { silent: true }),
    now,
    ...(intervalMs > 0 && { intervalMs }),
    log,
    fetch: globalThis.fetch,
    ...sockets,
  }
  const given = config.kind === 'function' ? { topology, ...config.options } : config.options
  const { timeout } = config.options
  const timeoutMs = Math.max(LOOK_TIMEOUT_MS, 2 * (typeof timeout === 'number' ? timeout : 0), 2 * (listenMs ?? 0))
  const asked = source.look ? source : { ...source, look: heardBy(source, listenMs) }
  const leave = source.leave?.bind(source)
  const look = createLook(asked, { options: given, context, clock, timeoutMs })
  return {
    id: config.id,
    topology,
    look,
    watch(signal) {
      // A source that can do both is told by `watch: false` to be asked again and again.
      const isPolled = intervalMs === 0 || (config.options.watch === false && source.look !== undefined)
      if (source.watch === undefined || isPolled) return poll(look, { intervalMs, signal, clock })
      return checked(source.watch(given, { ...context, signal }), config.id)
    },
    // Three of the proofs of life that a watch owes at every interval; a poll waits at most 30 s and looks for `timeoutMs`.
    silenceMs: intervalMs === 0 ? Infinity : 3 * intervalMs + LOOK_TIMEOUT_MS + timeoutMs,
    ...(leave && { leave: (signal) => leave(given, { ...context, signal }) }),
  }
}

async function loadSource(config: SourceConfig): Promise<Source<unknown>> {
  const { id, kind } = config
  if (isSourcePath(kind)) return await (await import('./own.ts')).loadOwnSource(config)
  const load = Object.hasOwn(strategies, kind) ? strategies[kind] : undefined
  if (load !== undefined) return await load()
  const kinds = Object.keys(strategies).join(', ')
  // The leases are with a function: whoever names the registry here means that.
  const hint = kind === 'registry' ? ': an agent registers through source function, with register: true' : ''
  throw new RollcallError(
    'config',
    `[config] source ${id}: expected a kind that an agent asks (${kinds}), got ${kind}${hint}`,
  )
}

async function* checked(stream: AsyncIterable<unknown>, source: string): AsyncGenerator<Observation> {
  for await (const observation of stream) yield requireObservation(observation, source)
}

function heardBy(source: Source<unknown>, silentMs: number | undefined): NonNullable<Source<unknown>['look']> {
  return async (options, context) => {
    const listenMs = silentMs ?? source.listenMs?.(options)
    return await within({ ms: listenMs ?? Infinity, signal: context.signal }, async (signal) => {
      let heard: Observation | undefined
      for await (const observation of source.watch?.(options, { ...context, signal }) ?? []) {
        heard = observation
        if (listenMs === undefined) break
      }
      if (heard !== undefined) return heard
      const expected = `[${context.source}] expected to hear of a node`
      if (signal.aborted) throw new RollcallError('nothing_heard', `${expected} within ${listenMs} ms, got nothing`)
      throw new RollcallError('watch_ended', `${expected}, got the end of the stream`)
    })
  }
}
