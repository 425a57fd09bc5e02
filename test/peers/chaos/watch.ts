import type { NodeName } from '../../../core/node.ts'
import { healingMs } from '../../sim/bounds.ts'
import type { Fault } from './faults.ts'
import type { ChaosNode, Loss } from './node.ts'
import { INTERVAL_MS, POLICY, TICK_TIME_S } from './settings.ts'

/** How long a link may take to be there after the last fault at one of its ends, or after it was lost in the aftermath: what the simulator states. */
export const BOUND_MS = healingMs({ policy: POLICY, intervalMs: INTERVAL_MS })

// A socket that was long without an answer sends again late; the tick may have ended its link by then.
const AFTERMATH_MS = 1_250 * TICK_TIME_S
// Longer than any fault: a node that gave no answer meanwhile tells of its losses afterwards.
const MEMORY_MS = 300_000

/** A fault from its beginning. */
export interface Episode {
  readonly fault: Fault
  readonly beganAt: number
  endedAt?: number
  /** When all links of its nodes were there again. */
  clearedAt?: number
}

/** Who is linked with whom, and whether the faults explain what is not. */
export interface Watch {
  begin(fault: Fault): Promise<Episode>
  end(episode: Episode): Promise<void>
  /** Asks every node that can answer; gives the links that are missing, as `a: b` where a does not see b. */
  look(): Promise<string[]>
  /** Links lost that a fault explains, by its kind, and how often each end saw one. */
  readonly explained: ReadonlyMap<string, number>
  readonly wrong: readonly Loss[]
  /** Links that were not there in time, each told once. */
  readonly late: readonly string[]
  /** The longest that a link was seen missing when its time ran, ms, by the kind of the last fault at its ends. */
  readonly longestMs: ReadonlyMap<string, number>
}

const pairOf = (a: NodeName, b: NodeName) => [a, b].sort().join(' ')

/** Watches a mesh. It counts from when that is whole for the first time. */
export function createWatch(nodes: readonly ChaosNode[]): Watch {
  const episodes = new Set<Episode>()
  const explained = new Map<string, number>()
  const wrong: Loss[] = []
  const late = new Map<string, string>()
  const longestMs = new Map<string, number>()
  const erlang = nodes.filter(({ kind }) => kind === 'erlang').map(({ name }) => name)
  let formedAt: number | undefined
  // When either end last saw a link go that a fault explains: in its aftermath that is later than its end.
  const lostAt = new Map<string, number>()
  // The last that ended at each node.
  const lastAt = new Map<NodeName, Episode>()

  function explain({ at, by, of }: Loss): string | undefined {
    const possible = [...episodes].filter(
      ({ beganAt, clearedAt = Infinity }) => beganAt <= at && at <= clearedAt + AFTERMATH_MS,
    )
    const cause = possible.find(({ fault }) => fault.mayLose(by, of))
    if (cause !== undefined) return cause.fault.kind
    // prevent_overlapping_partitions: an Erlang node that loses another has the others drop it too, whatever they see of it.
    const shakesThem = ({ fault }: Episode) => erlang.some((a) => erlang.some((b) => a !== b && fault.mayLose(a, b)))
    return erlang.includes(by) && erlang.includes(of) && possible.some(shakesThem) ? 'global' : undefined
  }

  function judge(loss: Loss): void {
    const cause = explain(loss)
    if (cause === undefined) {
      wrong.push(loss)
      return
    }
    explained.set(cause, (explained.get(cause) ?? 0) + 1)
    const pair = pairOf(loss.by, loss.of)
    lostAt.set(pair, Math.max(loss.at, lostAt.get(pair) ?? 0))
  }

  /** The later of the last faults at both ends. */
  function lastFault(a: NodeName, b: NodeName): Episode | undefined {
    const [one, other] = [lastAt.get(a), lastAt.get(b)]
    return (one?.endedAt ?? 0) > (other?.endedAt ?? 0) ? one : other
  }

  function noteMissing(a: NodeName, b: NodeName, now: number): void {
    const episode = lastFault(a, b)
    const since = Math.max(episode?.endedAt ?? formedAt ?? now, lostAt.get(pairOf(a, b)) ?? 0)
    const kind = episode?.fault.kind ?? 'nothing'
    const ms = now - since
    longestMs.set(kind, Math.max(ms, longestMs.get(kind) ?? 0))
    const key = `${a} ${b} ${since}`
    if (ms > BOUND_MS) late.set(key, `${a} does not see ${b} ${ms} ms after ${episode?.fault.label ?? 'the start'}`)
  }

  let looking: Promise<unknown> = Promise.resolve()

  function look(): Promise<string[]> {
    const looked = looking.then(lookNow)
    looking = looked.catch(() => undefined)
    return looked
  }

  async function lookNow(): Promise<string[]> {
    const troubled = new Set([...episodes].flatMap(({ fault, endedAt }) => (endedAt === undefined ? fault.nodes : [])))
    const able = nodes.filter(({ name }) => !troubled.has(name))
    const seen = await Promise.all(able.map(async (node) => [node.name, await node.links()] as const))
    // Later than the links, so that none that is missing there is missing here.
    const losses = await Promise.all(able.map((node) => node.takeLosses()))
    const now = Date.now()
    const missing: [NodeName, NodeName][] = []
    for (const [name, links] of seen) {
      for (const other of able) if (other.name !== name && !links.has(other.name)) missing.push([name, other.name])
    }
    if (formedAt !== undefined) {
      for (const loss of losses.flat()) judge(loss)
      for (const [a, b] of missing) noteMissing(a, b, now)
    }
    if (missing.length === 0) formedAt ??= now
    const incomplete = new Set(missing.flat())
    for (const episode of episodes) clear(episode, incomplete, now)
    return missing.map(([a, b]) => `${a}: ${b}`)
  }

  function clear(episode: Episode, incomplete: ReadonlySet<NodeName>, now: number): void {
    const { fault, endedAt, clearedAt } = episode
    if (endedAt === undefined) return
    if (clearedAt === undefined && !fault.nodes.some((node) => incomplete.has(node))) episode.clearedAt = now
    if (clearedAt !== undefined && now > clearedAt + MEMORY_MS) episodes.delete(episode)
  }

  return {
    explained,
    wrong,
    get late() {
      return [...late.values()]
    },
    longestMs,
    look,
    async begin(fault) {
      const episode: Episode = { fault, beganAt: Date.now() }
      episodes.add(episode)
      // Who is being asked could not answer any more.
      await looking
      await fault.begin()
      return episode
    },
    async end(episode) {
      await episode.fault.end()
      episode.endedAt = Date.now()
      for (const node of episode.fault.nodes) lastAt.set(node, episode)
    },
  }
}
