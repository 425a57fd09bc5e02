import type { Member, Observation } from '../../core/member.ts'
import type { NodeName } from '../../core/node.ts'
import type { Plan, PlanInput } from '../../core/plan.ts'

/**
 * What an agent was told and what it decided, kept by somebody who read the design and not the core: only what an invariant
 * needs, and each figure so that the core may be stricter but never laxer.
 */
export interface Told {
  readonly sources: Map<string, SourceTold>
  /** Decided to go, and not named since. */
  readonly removed: Set<NodeName>
  /** When each removal was decided, in ms that were observed by then: a clock that jumps adds an interval at most. */
  removedAt: { node: NodeName; at: number }[]
  /** Takes in what a plan was given. */
  hear(input: PlanInput, at: number): void
  /** Takes in which sources the plan doubts: who was removed by what such a source left out is not, for now. */
  doubt(plan: Plan): void
  /** Takes in what the plan decided. */
  note(plan: Plan): void
  /** The sources that know a node. */
  knowers(node: NodeName): SourceTold[]
  known(): Set<NodeName>
}

export interface SourceTold {
  outcome: 'complete' | 'partial' | 'failed' | undefined
  /** `at` of the newest answer that counts. */
  at: number
  /** Its last answer, as it was given. */
  members: readonly Member[] | undefined
  /** Whom it named, and who is not forgotten since. */
  listed: ReadonlySet<NodeName>
  /** Whom it called leaving, and not up since. */
  readonly leaving: Set<NodeName>
  /** Its last answer is not believed in what it leaves out: said by the plan itself, for whom that can only be stricter. */
  doubted: boolean
  /** How many complete answers it has given. */
  completes: number
  /** Whom it named before and does not name now: how many complete answers it had given by then, and whether the link stands since. */
  readonly left: Map<NodeName, { completes: number; linked: boolean }>
  /** Whom it brought back though their links had stood, and when. */
  readonly returned: Map<NodeName, number>
}

/** Knows nothing yet. */
export function createTold(confirmMs: number): Told {
  const sources = new Map<string, SourceTold>()
  const removed = new Set<NodeName>()
  let observedMs = 0
  let heardAt: number | undefined

  /** What is known of a node ends with it, that it was brought back once too. */
  function forget(node: NodeName): void {
    for (const source of sources.values()) {
      source.left.delete(node)
      source.leaving.delete(node)
      source.returned.delete(node)
      // One that fell silent still lists whom the others have left out for long; its next answer is news, whatever it names.
      if (source.outcome !== 'failed' || !source.listed.has(node)) continue
      source.listed = new Set([...source.listed].filter((listed) => listed !== node))
      source.members = undefined
    }
  }

  function hearOne(input: PlanInput, observation: Observation, at: number): void {
    const source = sources.get(observation.source) ?? newSource()
    sources.set(observation.source, source)
    if (Math.min(observation.at, input.now) <= source.at) return
    source.at = Math.min(observation.at, input.now)
    source.outcome = observation.outcome
    if (observation.outcome === 'failed') return
    if (observation.outcome === 'complete') source.completes++
    // The steady state: the same list again names nobody anew and leaves out nobody more.
    if (observation.members === source.members) return
    source.members = observation.members
    const names = new Set(observation.members.map(({ node }) => node))
    for (const node of names) {
      removed.delete(node)
      if (source.left.get(node)?.linked) source.returned.set(node, at)
      source.left.delete(node)
    }
    for (const node of source.listed) {
      if (names.has(node)) continue
      const linked = observation.outcome === 'complete' && (input.links.includes(node) || node === input.self)
      // This answer is the first that counts against it.
      const before = source.completes - (observation.outcome === 'complete' ? 1 : 0)
      source.left.set(node, { completes: before, linked })
    }
    source.listed = names
    for (const { node, status } of observation.members) {
      if (status === 'leaving') source.leaving.add(node)
      else source.leaving.delete(node)
    }
  }

  const told: Told = {
    sources,
    removed,
    removedAt: [],

    hear(input, at) {
      const [elapsedMs, intervals] = [input.now - (heardAt ?? input.now), Object.values(input.topologies)]
      observedMs += Math.min(Math.max(0, elapsedMs), ...intervals.map(({ intervalMs }) => intervalMs))
      heardAt = input.now
      told.removedAt = told.removedAt.filter((each) => observedMs - each.at < confirmMs)
      const links = new Set(input.links)
      for (const source of sources.values()) {
        // A clock that was set back: what was said is from now, at the latest.
        source.at = Math.min(source.at, input.now)
        for (const [node, left] of source.left) left.linked &&= links.has(node) || node === input.self
      }
      for (const { observations } of Object.values(input.topologies)) {
        for (const observation of observations) hearOne(input, observation, at)
      }
    },

    doubt({ topologies }) {
      for (const [id, source] of sources) {
        source.doubted = topologies.web?.sources[id]?.doubted === true
        if (source.doubted) for (const node of source.left.keys()) removed.delete(node)
      }
    },

    note({ events }) {
      for (const { type, node } of events) {
        if (node === undefined) continue
        if (type === 'member_absent') {
          removed.add(node)
          told.removedAt.push({ node, at: observedMs })
        }
        if (type === 'member_forgotten') forget(node)
      }
    },

    knowers: (node) => [...sources.values()].filter(({ listed, left }) => listed.has(node) || left.has(node)),

    known() {
      return new Set([...sources.values()].flatMap(({ listed, left }) => [...listed, ...left.keys()]))
    },
  }
  return told
}

function newSource(): SourceTold {
  return {
    outcome: undefined,
    at: -Infinity,
    members: undefined,
    listed: new Set(),
    leaving: new Set(),
    completes: 0,
    doubted: false,
    left: new Map(),
    returned: new Map(),
  }
}
