import { open, readFile, rename, unlink } from 'node:fs/promises'
import { RollcallError } from '../core/error.ts'
import { NEVER_MS } from '../core/plan.ts'
import { dictionary, ownEntry, parseState, type SourceState, type State } from '../core/state.ts'
import type { Log } from '../functions/resolvers/source.ts'
import type { Clock } from './clock.ts'

/**
 * The state that an earlier run left; undefined when there is none, or when the file holds none (a warning says so: nobody is
 * cut for what was forgotten). One of another version or node is given as it is, for `plan` to discard. Throws `state_unreadable`.
 */
export async function readState(file: string, log: Log): Promise<State | undefined> {
  const text = await readText(file)
  if (text === undefined) return undefined
  const state = parseState(parseJson(text))
  if (state === undefined)
    log.warn({ file }, '[state] expected the state of an earlier run, got something else: starting anew')
  return state
}

/**
 * The state for a start at `now`: the time in which nobody ran makes its answers older, so that a source that stays down is
 * believed for `stale` after its last answer, and not after each start. Nothing else counts that time.
 */
export function ageState(
  state: State,
  { now, topologies }: { now: number; topologies: Readonly<Record<string, { intervalMs: number }>> },
): State {
  const aged = Object.entries(state.topologies).map(([name, topology]) => {
    const intervalMs = ownEntry(topologies, name)?.intervalMs || NEVER_MS
    // The plan counts up to an interval itself: the period of a cron job.
    const uncountedMs = Math.max(0, now - state.at - intervalMs)
    const sources = Object.entries(topology.sources).map(([id, source]) => [id, ageSource(source, uncountedMs)])
    return [name, { ...topology, sources: Object.fromEntries(sources) }]
  })
  return { ...state, topologies: Object.fromEntries(aged) }
}

function ageSource(source: SourceState, ms: number): SourceState {
  const missing = Object.entries(source.missing).map(([node, each]) => {
    return [node, { ...each, namedClock: each.namedClock - ms }] as const
  })
  // Without its error it is told anew that it fails: this run has a log of its own.
  const { error: _told, answeredClock, ...rest } = source
  return {
    ...rest,
    missing: dictionary(missing),
    ...(answeredClock !== undefined && { answeredClock: answeredClock - ms }),
  }
}

/** Replaces the file at once or not at all, whatever happens meanwhile. Mode 0600. Throws `state_not_written`. */
export async function writeState(file: string, state: State): Promise<void> {
  // The global one: importing node:crypto would cost 1.5 MB in each agent, whether it keeps a state or not.
  const temporary = `${file}.${crypto.randomUUID()}.tmp`
  try {
    await writeNew(temporary, `${JSON.stringify(state)}\n`)
    await rename(temporary, file)
  } catch (cause) {
    await unlink(temporary).catch(() => undefined) // never made, or on a disk that takes no more
    const { code } = cause as NodeJS.ErrnoException
    throw new RollcallError(
      'state_not_written',
      `[state] expected to write ${file}, got ${code}: is there room, and may this user write there?`,
      { cause },
    )
  }
}

/** Writes states as they come, at most one a second. */
export interface StateWriter {
  /** To be written soon; a later one takes its place. */
  offer(state: State): void
  /** Writes what was offered last and was not written. */
  flush(): Promise<void>
}

const PERIOD_MS = 1_000

/** Makes the writer of one file. A write that fails is a warning once, until one succeeds. */
export function createStateWriter(
  file: string,
  { signal, clock, log }: { signal: AbortSignal; clock: Clock; log: Log },
): StateWriter {
  let offered: State | undefined
  let writing: Promise<void> | undefined
  let failing = false

  async function write(): Promise<void> {
    const state = offered
    offered = undefined
    if (state === undefined) return
    try {
      await writeState(file, state)
      failing = false
    } catch (err) {
      if (!failing) log.warn({ err, file }, 'the state is not kept; going on without')
      failing = true
    }
  }

  async function writeOn(): Promise<void> {
    while (offered !== undefined) {
      await write()
      await clock.sleep(PERIOD_MS, signal)
    }
    writing = undefined
  }

  return {
    offer(state) {
      offered = state
      writing ??= writeOn()
    },
    async flush() {
      await writing
      await write()
    },
  }
}

async function readText(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    throw new RollcallError(
      'state_unreadable',
      `[state] expected to read ${file}, got ${code}: may this user read it?`,
      { cause },
    )
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

async function writeNew(file: string, text: string): Promise<void> {
  const handle = await open(file, 'wx', 0o600)
  try {
    await handle.writeFile(text)
    // Without it a crash may leave the new name with the old disk's zeros behind it.
    await handle.sync()
  } finally {
    await handle.close()
  }
}
