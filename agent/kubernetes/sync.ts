import { RollcallError } from '../../core/error.ts'
import type { Naming } from '../../core/sources/kubernetes-members.ts'
import type { SourceContext } from '../../functions/resolvers/source.ts'
import { type Clock, jitter, withDeadline } from '../clock.ts'
import type { Api } from './api.ts'
import { createRoster, type Roster } from './roster.ts'

/** What it takes to ask for one resource. */
export interface Desk {
  readonly api: Api
  readonly naming: Naming
  readonly context: SourceContext
  readonly clock: Clock
}

// client-go's: an answer of a second at most, of slices with some 50,000 endpoints.
const PAGE_SIZE = 500
// Beyond it a server gives tokens without end.
const MAX_PAGES = 200
// The API server sends a bookmark two seconds before a watch is over: so each watch gives one, and none is far behind.
const MAX_WATCH_MS = 240_000
// For whom nobody told an interval: as often as the API server sends bookmarks.
const DEFAULT_INTERVAL_MS = 60_000
// How much later than agreed the end of a watch may come before the connection counts as dead.
const SLACK_MS = 10_000
// A watch that ends earlier and brought nothing did not work.
const SHORT_MS = 2_500

/** Where a watch goes on, and what it keeps true. */
export interface Watching {
  readonly cursor: { resourceVersion: string; lines: number }
  readonly roster: Roster
  /** Called at each proof that the set is what the API server has. */
  readonly prove: () => void
  readonly signal: AbortSignal
}

/** One watch to its end. Gives why another one cannot go on from there, if so; throws where it failed. */
export async function watchOnce({ api, context, clock }: Desk, watching: Watching): Promise<string | undefined> {
  const { cursor, roster, prove, signal } = watching
  const { now, log, source, intervalMs = DEFAULT_INTERVAL_MS } = context
  const seconds = Math.max(1, Math.floor(jitter(Math.min(intervalMs, MAX_WATCH_MS), clock) / 1_000))
  const openedAt = now()
  const linesBefore = cursor.lines

  async function read(own: AbortSignal): Promise<void> {
    const query = { resourceVersion: cursor.resourceVersion, timeoutSeconds: String(seconds) }
    const events = await api.watch(query, own)
    // It would send at once what happened since: that it accepts where to begin is an answer.
    prove()
    for await (const event of events) {
      cursor.lines++
      if (event.type === 'error') {
        const message = `[kubernetes] expected events, got an error ${event.status}: ${JSON.stringify(event.message.slice(0, 200))}`
        throw new RollcallError(`http_${event.status}`, message)
      }
      cursor.resourceVersion = event.resourceVersion
      if (event.type === 'set') roster.set(event.object)
      if (event.type === 'deleted') roster.delete(event.name)
      prove()
    }
  }

  try {
    const ms = seconds * 1_000 + SLACK_MS
    await withDeadline(read, { ms, signal, clock, expected: '[kubernetes] expected the end of a watch' })
    if (cursor.lines > linesBefore || now() - openedAt >= Math.min(seconds * 500, SHORT_MS)) return undefined
    const message = `[kubernetes] expected a watch of ${seconds} s, got its end at once: what is between it and the API server?`
    throw new RollcallError('watch_ended', message)
  } catch (error) {
    if (signal.aborted || !(error instanceof RollcallError)) throw error
    if (error.code === 'timeout') return '[kubernetes] the watch went silent: listing again'
    // By its status or by an event: the API server remembers the last minutes only.
    if (error.code === 'http_410') return '[kubernetes] the watch is too old to go on: listing again'
    const hasWorked = cursor.lines > linesBefore || now() - openedAt >= SHORT_MS
    if (error.code !== 'watch_cut' || !hasWorked) throw error
    // It worked until then, and the next one brings what this one did not.
    log.debug({ source, err: error }, 'the watch was cut')
    return undefined
  }
}

/** The whole list, page by page. Where it grows too old in between it is asked for once more, in one piece. */
export async function list(
  { api, naming, context }: Desk,
  signal: AbortSignal,
): Promise<{ roster: Roster; resourceVersion: string }> {
  const first = naming.options.watch ? undefined : { resourceVersion: '0' }
  for (let limit: string | undefined = String(PAGE_SIZE); ; limit = undefined) {
    const roster = createRoster(naming)
    let next = ''
    try {
      for (let pages = 0; pages < MAX_PAGES; pages++) {
        const place = next === '' ? first : { continue: next }
        const page = await api.list({ ...(limit !== undefined && { limit }), ...place }, signal)
        for (const object of page.items) roster.set(object)
        next = page.next
        if (next === '') return { roster, resourceVersion: page.resourceVersion }
      }
      throw new RollcallError('bad_answer', `[kubernetes] expected at most ${MAX_PAGES} pages, got more`)
    } catch (error) {
      const isOld = error instanceof RollcallError && error.code === 'http_410'
      if (!isOld || next === '' || limit === undefined) throw error
      context.log.debug({ source: context.source }, 'the list grew too old between two pages')
    }
  }
}
