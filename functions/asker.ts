import type { SourceConfig, TopologyConfig } from '../core/config.ts'
import { describeError, RollcallError } from '../core/error.ts'
import { type Member, mergeMembers, type Observation } from '../core/member.ts'
import { ownEntry } from '../core/state.ts'
import type { Source, SourceContext } from './resolvers/source.ts'

/** Loads the source of each kind that a host can ask: an edge host names its few, the others load theirs lazily. */
export type SourceLoaders = Readonly<Record<string, () => Promise<Source<unknown>>>>

export interface AskerOptions {
  topology: string
  config: TopologyConfig
  loaders: SourceLoaders
  /** What the source may use of the world; id and signal are added for each ask. */
  context: Omit<SourceContext, 'source' | 'self' | 'signal'>
  /** Called after every ask that ended. */
  changed: () => void
}

/** One source: asked at most once per interval, one ask at a time, each ended by its own timeout whoever waits for it. */
export interface Asker {
  readonly id: string
  /** How long an ask may take, in ms. */
  readonly limitMs: number
  /** The ask under way, begun now if it is due; undefined while the last one is fresh. */
  due(keepAlive?: (ask: Promise<void>) => void): Promise<void> | undefined
  /** What it said holds no longer: the next `due` asks, whatever is under way. */
  expire(): void
  last(): Observation | undefined
  /** What it said last; undefined when it fails now and said that longer than `stale` ago. */
  answer(): Answer | undefined
  hasAnswered(): boolean
  /** How long until it may be asked again, in ms. */
  retryAfterMs(): number
}

/** Members, and when they were asked for. */
export interface Answer {
  readonly at: number
  readonly members: readonly Member[]
}

// They know addresses, and make the names.
const NAMES_NODES = new Set(['dns', 'ec2', 'cloudmap'])
// `never` means on demand: callers within the same second share one ask.
const ON_DEMAND_TTL_MS = 1_000
// For a source without a `timeout` of its own: as long as a client waits for the function.
const ASK_TIMEOUT_MS = 5_000
// The source's own timeout comes first, because its message says more.
const ASK_SLACK_MS = 1_000
// An upstream may ask to be left alone, but not for ever.
const MAX_RETRY_AFTER_MS = 300_000

/** Makes the one asker of a source. It asks nobody until it is `due`. Throws `config` for a source that it never could ask. */
export function createAsker(
  source: SourceConfig,
  { topology, config, loaders, context, changed }: AskerOptions,
): Asker {
  const { id, kind, options } = source
  const { now, log } = context
  const load = loaderOf(source, loaders, `topologies.${topology}: source ${id}`)
  const ttlMs = config.intervalMs === 0 ? ON_DEMAND_TTL_MS : config.intervalMs
  const timeoutMs = typeof options.timeout === 'number' ? options.timeout : ASK_TIMEOUT_MS
  const limitMs = timeoutMs + ASK_SLACK_MS
  // What it remembers between two asks is its own: one for each source.
  let loaded: Source<unknown> | undefined
  let askedAt = -Infinity
  let [turns, noted] = [0, 0]
  let waitMs = ttlMs
  let flight: Promise<void> | undefined
  let last: Observation | undefined
  let answer: Answer | undefined

  async function look(): Promise<Observation> {
    const controller = new AbortController()
    const { promise: overdue, reject } = Promise.withResolvers<never>()
    const timer = setTimeout(() => {
      const message = `[${kind}] expected an answer within ${limitMs} ms, got none: check that the source can be reached from here`
      reject(new RollcallError('timeout', message))
      controller.abort()
    }, limitMs)
    try {
      return await Promise.race([lookWith(controller.signal), overdue])
    } catch (error) {
      return { source: id, at: now(), outcome: 'failed', error: describeError(error) }
    } finally {
      clearTimeout(timer)
    }
  }

  async function lookWith(signal: AbortSignal): Promise<Observation> {
    loaded ??= await load()
    if (loaded.look === undefined) throw new TypeError(`source ${kind} cannot be asked here`)
    return await loaded.look(options, { ...context, source: id, signal })
  }

  async function ask(time: number): Promise<void> {
    askedAt = time
    const turn = ++turns
    const observation = await look()
    if (turn === turns) flight = undefined
    // One that was taken for dead, or began before a write, must not hide what a later one said.
    if (turn < noted) return
    noted = turn
    note(observation)
  }

  function note(observation: Observation): void {
    const wasFailing = last?.outcome === 'failed'
    last = bounded(observation, config.policy.maxMembers)
    if (last.outcome === 'failed') {
      const { error } = last
      waitMs = Math.max(ttlMs, Math.min(error.retryAfterMs ?? 0, MAX_RETRY_AFTER_MS))
      if (!wasFailing) log.warn({ topology, source: id, error }, 'source failed')
    } else {
      answer = { at: last.at, members: last.members }
      waitMs = ttlMs
      if (wasFailing) log.info({ topology, source: id }, 'source answers again')
    }
    changed()
  }

  return {
    id,
    limitMs,
    last: () => last,
    answer() {
      const isTooOld = last?.outcome === 'failed' && answer !== undefined && now() - answer.at > config.policy.stale
      return isTooOld ? undefined : answer
    },
    hasAnswered: () => answer !== undefined,
    retryAfterMs: () => Math.max(0, askedAt + waitMs - now()),
    expire() {
      askedAt = -Infinity
    },

    due(keepAlive) {
      const time = now()
      const elapsed = time - askedAt
      // A clock that was set back must not silence a source, nor must an ask that died with the request it ran in.
      if (elapsed >= 0 && elapsed < (flight === undefined ? waitMs : limitMs + ASK_SLACK_MS)) return flight
      flight = ask(time)
      keepAlive?.(flight)
      return flight
    },
  }
}

/** A source that this host can never ask is refused at the start, where somebody looks. */
function loaderOf({ kind, options }: SourceConfig, loaders: SourceLoaders, path: string): SourceLoaders[string] {
  const load = ownEntry(loaders, kind)
  if (load === undefined) {
    const kinds = Object.keys(loaders).join(', ')
    throw new RollcallError(
      'config',
      `[config] ${path}: expected a kind that is asked from here (${kinds}), got ${kind}`,
    )
  }
  if (!NAMES_NODES.has(kind) || options.basename !== undefined) return load
  const message = `[config] ${path}: expected basename, got none: a function has no node name to take it from`
  throw new RollcallError('config', message)
}

function bounded(observation: Observation, maxMembers: number): Observation {
  const { members, source, at } = observation
  if (members === undefined || members.length <= maxMembers || observation.outcome === 'failed') return observation
  const reason = `it listed ${members.length} members, more than maxMembers ${maxMembers}`
  return { source, at, outcome: 'partial', members: mergeMembers([members]).slice(0, maxMembers), reason }
}
