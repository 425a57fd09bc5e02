import type { TopologyConfig } from '../core/config.ts'
import { mergeMembers, type Observation } from '../core/member.ts'
import { type Asker, type AskerOptions, createAsker } from './asker.ts'
import { createView, type SourceEntry, type View } from './view.ts'

export interface ObserverOptions extends Omit<AskerOptions, 'changed'> {
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
  /** One for each source. */
  readonly askers: readonly Asker[]
  /**
   * Asks each source whose turn it is, and is done when those under way are; undefined when there is nothing to wait for.
   * Every ask that begins is handed to `keepAlive`.
   */
  refresh(keepAlive?: (ask: Promise<void>) => void): Promise<void> | undefined
  /** What is known; undefined while no source has an answer, or when all fail and the answers are older than `stale`. */
  view(): View | undefined
  /** The last observation of each source; a failed one carries the members of its last answer, for at most `stale`. */
  observations(): Observation[]
  /** How long until a source may be asked again, in ms. */
  retryAfterMs(): number
  /** What the source of this id said holds no longer, for somebody has just told it more: the next `refresh` asks it. */
  expire(source: string): void
  /** Calls back after every ask that ended. */
  onAnswer(listener: () => void): void
}

// A client gives up after 5 s.
const PATIENCE_MS = 1_000

/** Makes the one observer of a topology. It asks nobody until the first `refresh`, and never on its own. */
export function createObserver(options: ObserverOptions): Observer {
  const { topology, config, patienceMs = PATIENCE_MS } = options
  const { now } = options.context
  let built: { view: View | undefined; until: number } | undefined
  const listeners: (() => void)[] = []
  const changed = () => {
    built = undefined
    for (const listener of listeners) listener()
  }
  const askers = config.sources.map((source) => createAsker(source, { ...options, changed }))
  const answers = () => askers.flatMap((asker) => asker.answer() ?? [])

  /** The view, and until when it holds if no ask ends before: an answer that stands in for a failing source gets too old. */
  function build(): { view: View | undefined; until: number } {
    const standIns = askers.flatMap((asker) => (isFailing(asker) ? (asker.answer() ?? []) : []))
    const until = Math.min(...standIns.map(({ at }) => at + config.policy.stale + 1))
    const known = answers()
    if (askers.length > 0 && known.length === 0) return { view: undefined, until }
    const view = createView({
      topology,
      sources: askers.map((asker) => report(asker, now())),
      members: mergeMembers(known.map(({ members }) => members)),
      at: Math.min(now(), ...known.map(({ at }) => at)),
      stale: standIns.length > 0,
    })
    return { view, until }
  }

  return {
    topology,
    config,
    askers,

    refresh(keepAlive) {
      const asks = askers.map((asker) => asker.due(keepAlive)).filter((ask) => ask !== undefined)
      if (asks.length === 0) return undefined
      const limitMs = Math.max(...askers.map((asker) => asker.limitMs))
      return settled(asks, answers().length > 0 ? Math.min(patienceMs, limitMs) : limitMs)
    },

    view() {
      if (built === undefined || now() >= built.until) built = build()
      return built.view
    },

    observations: () =>
      askers.flatMap((asker) => {
        const last = asker.last()
        if (last?.outcome !== 'failed') return last ?? []
        const members = asker.answer()?.members
        return members === undefined ? last : { ...last, members: [...members] }
      }),

    retryAfterMs: () => Math.min(...askers.map((asker) => asker.retryAfterMs())),
    expire: (source) => askers.find(({ id }) => id === source)?.expire(),
    onAnswer: (listener) => void listeners.push(listener),
  }
}

function isFailing(asker: Asker): boolean {
  return asker.last()?.outcome === 'failed'
}

const UNHEARD = { code: 'no_answer_yet', message: 'it was not heard yet' }

function report(asker: Asker, time: number): SourceEntry {
  const last = asker.last()
  const entry = { source: asker.id, outcome: last?.outcome ?? 'failed', at: asker.answer()?.at ?? last?.at ?? time }
  if (entry.outcome !== 'failed') return entry
  const { code, message } = last?.outcome === 'failed' ? last.error : UNHEARD
  return { ...entry, error: { code, message } }
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
