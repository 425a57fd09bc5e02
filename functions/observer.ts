import type { SourceConfig, TopologyConfig } from '../core/config.ts'
import { describeError, RollcallError } from '../core/error.ts'
import type { Member, Observation } from '../core/member.ts'
import { type MembersDocument, mergeMembers, revisionOf } from '../core/wire.ts'
import { observe, type Source, type SourceContext } from './resolvers/source.ts'

/** Loads the source of each kind that a host can ask: an edge host names its few, the others load theirs lazily. */
export type SourceLoaders = Readonly<Record<string, () => Promise<Source<unknown>>>>

export interface ObserverOptions {
  topology: string
  config: TopologyConfig
  loaders: SourceLoaders
  /** What the sources may use of the world; id and signal are added for each ask. */
  context: Omit<SourceContext, 'source' | 'self' | 'signal'>
  /**
   * How long a caller waits for an ask when there is an answer to fall back on, in ms; without one it waits for the end.
   * 1 s by default, for a client gives up after 5. Infinity where nothing can go on once the caller has its answer (Lambda).
   */
  patienceMs?: number | undefined
}

/** Asks the sources of one topology on behalf of any number of callers. */
export interface Observer {
  readonly topology: string
  readonly config: TopologyConfig
  /**
   * Asks each source whose turn it is, and is done when those under way are; undefined when there is nothing to wait for.
   * Every ask that begins is handed to `keepAlive`.
   */
  refresh(keepAlive?: (ask: Promise<void>) => void): Promise<void> | undefined
  /** What is known; undefined while no source has an answer, or when all fail and the answers are older than `stale`. */
  view(): View | undefined
  /** The last observation of each source; a failed one carries the members of its last answer, for at most `stale`. */
  observations(): Observation[]
  /** Its sources, what came of the last ask of each, and whether it ever answered. */
  sources(): { source: string; outcome?: Observation['outcome']; hasAnswered: boolean }[]
  /** How long until a source may be asked again, in ms. */
  retryAfterMs(): number
}

/** The merged answers of a topology's sources, ready to be sent. */
export interface View {
  readonly revision: string
  /** When the oldest of the answers was asked for, ms since the Unix epoch. */
  readonly at: number
  /** The `MembersDocument` as JSON, its ages as of `time`. */
  render(time: number): string
}

interface Asker {
  readonly id: string
  readonly limitMs: number
  /** The ask under way, begun now if it is due; undefined while the last one is fresh. */
  due(keepAlive?: (ask: Promise<void>) => void): Promise<void> | undefined
  last(): Observation | undefined
  answer(): Answer | undefined
  retryAfterMs(): number
}

interface Answer {
  readonly at: number
  readonly members: readonly Member[]
}

// `never` means on demand: callers within the same second share one ask.
const ON_DEMAND_TTL_MS = 1_000
const PATIENCE_MS = 1_000
// For a source without a `timeout` of its own: as long as a client waits for the function.
const ASK_TIMEOUT_MS = 5_000
// The source's own timeout comes first, because its message says more.
const ASK_SLACK_MS = 1_000
// An upstream may ask to be left alone, but not for ever.
const MAX_RETRY_AFTER_MS = 300_000

/** Makes the one observer of a topology. It asks nobody until the first `refresh`, and never on its own. */
export function createObserver(options: ObserverOptions): Observer {
  const { topology, config, patienceMs = PATIENCE_MS } = options
  const { now } = options.context
  const { stale } = config.policy
  let built: { view: View | undefined; until: number } | undefined
  const changed = () => (built = undefined)
  const askers = config.sources.map((source) => createAsker(source, options, changed))

  /** The last answer, unless the source fails and that answer is too old to stand in for it. */
  function standing(asker: Asker): Answer | undefined {
    const answer = asker.answer()
    if (answer === undefined || asker.last()?.outcome !== 'failed') return answer
    return now() - answer.at <= stale ? answer : undefined
  }

  function build(): { view: View | undefined; until: number } {
    const failing = askers.flatMap((asker) => (asker.last()?.outcome === 'failed' ? (standing(asker) ?? []) : []))
    const until = Math.min(...failing.map(({ at }) => at + stale + 1))
    const isSilent = askers.length > 0 && askers.every((asker) => standing(asker) === undefined)
    if (isSilent) return { view: undefined, until }
    const sources = askers.map((asker) => report(asker, standing(asker), now()))
    const answers = askers.flatMap((asker) => standing(asker) ?? [])
    return { view: createView({ topology, sources, answers, stale: failing.length > 0, now }), until }
  }

  return {
    topology,
    config,

    refresh(keepAlive) {
      const asks = askers.flatMap((asker) => asker.due(keepAlive) ?? [])
      if (asks.length === 0) return undefined
      const limitMs = Math.max(...askers.map((asker) => asker.limitMs))
      const hasAnswer = askers.some((asker) => standing(asker) !== undefined)
      return settled(asks, hasAnswer ? Math.min(patienceMs, limitMs) : limitMs)
    },

    view() {
      if (built === undefined || now() >= built.until) built = build()
      return built.view
    },

    observations: () =>
      askers.flatMap((asker) => {
        const last = asker.last()
        if (last?.outcome !== 'failed') return last ?? []
        const members = standing(asker)?.members
        return members === undefined ? last : { ...last, members: [...members] }
      }),

    sources: () =>
      askers.map((asker) => {
        const entry = { source: asker.id, hasAnswered: asker.answer() !== undefined }
        const last = asker.last()
        return last === undefined ? entry : { ...entry, outcome: last.outcome }
      }),

    retryAfterMs: () => Math.min(...askers.map((asker) => asker.retryAfterMs())),
  }
}

/** One source: asked at most once per interval, one ask at a time, each ended by its own timeout whoever waits for it. */
function createAsker(
  source: SourceConfig,
  { topology, config, loaders, context }: ObserverOptions,
  changed: () => void,
): Asker {
  const { id, kind, options } = source
  const { now, log } = context
  const ttlMs = config.intervalMs === 0 ? ON_DEMAND_TTL_MS : config.intervalMs
  const timeoutMs = typeof options.timeout === 'number' ? options.timeout : ASK_TIMEOUT_MS
  const limitMs = timeoutMs + ASK_SLACK_MS
  let askedAt = -Infinity
  let waitMs = ttlMs
  let flight: Promise<void> | undefined
  let last: Observation | undefined
  let answer: Answer | undefined

  async function look(): Promise<Observation> {
    const controller = new AbortController()
    const timer = setTimeout(() => controller.abort(), limitMs)
    const { signal } = controller
    try {
      const loaded = await loaders[kind]?.()
      if (loaded === undefined) throw new TypeError(`no loader for source ${kind}`)
      return await Promise.race([observe(loaded, options, { ...context, source: id, signal }), overdue(signal)])
    } catch (error) {
      return { source: id, at: now(), outcome: 'failed', error: describeError(error) }
    } finally {
      clearTimeout(timer)
    }
  }

  async function ask(time: number): Promise<void> {
    askedAt = time
    const observation = await look()
    if (askedAt !== time) return // taken for dead, and asked again since
    flight = undefined
    note(observation)
  }

  function overdue(signal: AbortSignal): Promise<never> {
    return new Promise((_, reject) => {
      const message = `[${kind}] expected an answer within ${limitMs} ms, got none: check that the source can be reached from here`
      signal.addEventListener('abort', () => reject(new RollcallError('timeout', message)))
    })
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
    answer: () => answer,
    retryAfterMs: () => Math.max(0, askedAt + waitMs - now()),

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

function bounded(observation: Observation, maxMembers: number): Observation {
  const { members, source, at } = observation
  if (members === undefined || members.length <= maxMembers || observation.outcome === 'failed') return observation
  const reason = `it listed ${members.length} members, more than maxMembers ${maxMembers}`
  return { source, at, outcome: 'partial', members: mergeMembers([members]).slice(0, maxMembers), reason }
}

interface SourceEntry {
  readonly source: string
  readonly outcome: Observation['outcome']
  readonly at: number
  readonly error?: { code: string; message: string }
}

function report(asker: Asker, answer: Answer | undefined, time: number): SourceEntry {
  const last = asker.last()
  const entry = { source: asker.id, at: answer?.at ?? last?.at ?? time }
  if (last === undefined) {
    return { ...entry, outcome: 'failed', error: { code: 'no_answer_yet', message: 'it was not heard yet' } }
  }
  if (last.outcome !== 'failed') return { ...entry, outcome: last.outcome }
  return { ...entry, outcome: 'failed', error: { code: last.error.code, message: last.error.message } }
}

interface ViewParts {
  topology: string
  sources: readonly SourceEntry[]
  answers: readonly Answer[]
  stale: boolean
  now: () => number
}

function createView({ topology, sources, answers, stale, now }: ViewParts): View {
  const members = mergeMembers(answers.map((answer) => answer.members))
  const revision = revisionOf(members, sources)
  const outcome = outcomeOf(sources)
  const at = Math.min(now(), ...answers.map((answer) => answer.at))
  // The long part is made once an observation; the ages once a millisecond, however many ask within it.
  const membersText = JSON.stringify(members)
  let rendered = { time: Number.NaN, text: '' }

  function render(time: number): string {
    const ageOf = (instant: number) => Math.max(0, time - instant)
    const head: Omit<MembersDocument, 'members'> = {
      topology,
      revision,
      outcome,
      ageMs: ageOf(at),
      stale,
      sources: sources.map(({ at: asked, ...entry }) => ({ ...entry, ageMs: ageOf(asked) })),
    }
    return `${JSON.stringify(head).slice(0, -1)},"members":${membersText}}`
  }

  return {
    revision,
    at,
    render(time) {
      if (rendered.time !== time) rendered = { time, text: render(time) }
      return rendered.text
    },
  }
}

/** A topology without sources is `partial`: nobody said that there is nobody. */
function outcomeOf(sources: readonly SourceEntry[]): Observation['outcome'] {
  if (sources.length === 0) return 'partial'
  if (sources.every(({ outcome }) => outcome === 'complete')) return 'complete'
  return sources.every(({ outcome }) => outcome === 'failed') ? 'failed' : 'partial'
}

/** Waits for all of them, but no longer than `ms`: an ask may have died with the request that it ran in. */
async function settled(asks: readonly Promise<void>[], ms: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const enough = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms)
  })
  await Promise.race([Promise.all(asks), enough])
  clearTimeout(timer)
}
