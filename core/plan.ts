import { peersAfter, planDials, sortOutUnlinked, type Unlinked } from './dial.ts'
import { fold } from './fold.ts'
import type { Observation } from './member.ts'
import type { NodeName } from './node.ts'
import type { Policy } from './policy.ts'
import { noteCondition, report } from './report.ts'
import { graceOf, removals, type View, viewOf } from './standing.ts'
import { emptyState, NEW_TOPOLOGY, ownEntry, type State, type TopologyState, UNHEARD, workingCopy } from './state.ts'

export interface PlanInput {
  self: NodeName
  /** Ms since the Unix epoch. */
  now: number
  /** What the distribution says is connected now: also the liveness evidence. */
  links: readonly NodeName[]
  topologies: Record<string, PlanTopology>
  /** This node was told to leave. */
  leaving?: boolean
  /** Of dials that ended since the last call, if known. */
  outcomes?: readonly { node: NodeName; ok: boolean; code?: string }[]
}

export interface PlanTopology {
  /** Ids of its sources. */
  sources: readonly string[]
  /** 0 = never. */
  intervalMs: number
  policy: Policy
  /** What came in since the last call; what was counted before is no news. */
  observations: readonly Observation[]
}

export type ConnectReason = 'new' | 'lost' | 'retry'
export type DisconnectReason = 'leaving' | 'absent'
export type HoldReason =
  | 'dialling'
  | 'backoff'
  | 'round_full'
  | 'grace'
  | 'misses'
  | 'source_failed'
  | 'doubted'
  | 'budget'
  | 'policy'
  | 'leaving'
  | 'disputed'

export interface Plan {
  connect: { node: NodeName; address?: { host: string; port: number }; attempt: number; reason: ConnectReason }[]
  disconnect: { node: NodeName; reason: DisconnectReason }[]
  hold: { node: NodeName; reason: HoldReason; until?: number }[]
  /** This node itself should leave the mesh. */
  leave: boolean
  topologies: Record<string, PlanTopologyReport>
  events: PlanEvent[]
  state: State
  /** When the plan can change without new input, ms since the Unix epoch. */
  recheckAt: number
}

export interface PlanTopologyReport {
  formed: boolean
  guard?: { absent: number; members: number; until: number }
  sources: Record<string, SourceReport>
}

export interface SourceReport {
  /** Absent until its first observation. */
  outcome?: Observation['outcome']
  at?: number
  /** It fails: its members are what it said then, or in a stale answer since. Absent also while it never answered. */
  staleSince?: number
  members: number
  doubted?: true
  error?: { code: string; message: string }
}

/** Something that changed; `type` is stable. */
export interface PlanEvent {
  type:
    | 'member_listed'
    | 'member_absent'
    | 'member_forgotten'
    | 'member_leaving'
    | 'member_renewed'
    | 'source_failed'
    | 'source_recovered'
    | 'source_doubted'
    | 'source_trusted'
    | 'source_blocks_removal'
    | 'members_skipped'
    | 'guard_raised'
    | 'guard_released'
    | 'self_not_listed'
    | 'state_discarded'
  topology?: string
  source?: string
  node?: NodeName
  /** One sentence for a person: what happened, and what to check where something is wrong. */
  message: string
}

/** One call of `plan` while it is being worked out. */
export interface Draft {
  readonly input: PlanInput
  /** Connected now; self counts as linked to itself. */
  readonly linked: ReadonlySet<NodeName>
  /** Listed by a source for the first time, or again. */
  readonly fresh: Set<NodeName>
  /** Listed with another id than before: new nodes under old names. */
  readonly renewed: Set<NodeName>
  /** How dials ended, where that is known. */
  readonly outcomes: ReadonlyMap<NodeName, boolean>
  readonly events: PlanEvent[]
  /** Notes an instant at which something is due without new input. */
  readonly due: (at: number) => void
}

/** Adds an event about one topology, or about one of its sources. */
export type Emit = (type: PlanEvent['type'], message: string, node?: NodeName) => void

/**
 * Computes whom to connect to and whom to disconnect from, with a reason for each. Pure: same input, same output.
 * The returned `state` is to be given back with the next call; `undefined` starts anew. The rules are in docs/decision.md.
 */
export function plan(before: State | undefined, input: PlanInput): Plan {
  let recheckAt = input.now + RECHECK_MS
  const draft: Draft = {
    input,
    linked: new Set(input.links).add(input.self),
    fresh: new Set(),
    renewed: new Set(),
    outcomes: new Map(input.outcomes?.map(({ node, ok }) => [node, ok])),
    events: [],
    due: (at) => {
      recheckAt = Math.min(recheckAt, at)
    },
  }
  const state = adoptState(before, draft)
  const unlinked = new Map<NodeName, Unlinked>()
  const planned = Object.entries(input.topologies).map(([topology, asked]) => {
    const view = observe(topology, asked, state, draft)
    removeDue(view, draft)
    const linkedMembers = sortOutUnlinked(view, unlinked, state, draft)
    return { topology, view, report: report(view, linkedMembers, draft) }
  })
  const views = planned.map(({ view }) => view)
  const verdict = selfVerdict(views, draft)
  const leave = verdict === 'gone' || input.leaving === true
  // A node on its way out dials nobody; what it knows of its peers stays.
  const dials = planDials(leave || verdict === 'leaving' ? new Map() : unlinked, draft)
  const cuts = planCuts(views, draft)
  return {
    connect: dials.connect,
    disconnect: leave ? [] : cuts.disconnect,
    hold: [...dials.hold, ...cuts.hold],
    leave,
    topologies: Object.fromEntries(planned.map(({ topology, report }) => [topology, report])),
    events: draft.events,
    state: {
      version: 1,
      self: input.self,
      at: input.now,
      topologies: Object.fromEntries(planned.map(({ topology, view }) => [topology, view.state])),
      peers: peersAfter(state, unlinked, draft),
    },
    recheckAt,
  }
}

// With nothing pending there is nothing to wait for; an hour keeps a lost wake-up from being for ever.
const RECHECK_MS = 3_600_000
/** The period that an interval of `never` counts as, in ms: what an operator who asks by hand does at most. */
export const NEVER_MS = 60_000

/** The state to go on from: one of another version or node is discarded, and no stored instant lies ahead of now. */
function adoptState(before: State | undefined, { input: { self, now }, events }: Draft): State {
  if (before?.version === 1 && before.self === self) return { ...before, at: Math.min(before.at, now) }
  if (before !== undefined) {
    const message = `expected version 1 of ${self}, got version ${before.version} of ${before.self}: starting anew, nobody is cut for what it knew`
    events.push({ type: 'state_discarded', message })
  }
  return emptyState(self, now)
}

/** Advances the topology's clock, folds what came in and works out where each node stands. */
function observe(topology: string, asked: PlanTopology, before: State, draft: Draft): View {
  const { input, linked, events } = draft
  const { policy, observations } = asked
  const emitFor =
    (about: { topology: string; source?: string }): Emit =>
    (type, message, node) =>
      events.push({ ...about, type, ...(node !== undefined && { node }), message })
  const intervalMs = asked.intervalMs > 0 ? asked.intervalMs : NEVER_MS
  const known = ownEntry(before.topologies, topology) ?? NEW_TOPOLOGY
  const clock = known.clock + Math.min(Math.max(0, input.now - before.at), intervalMs)
  const sources: TopologyState['sources'] = {}
  for (const id of asked.sources) {
    const source = workingCopy(ownEntry(known.sources, id) ?? UNHEARD, input.now, linked)
    sources[id] = source
    const context = { ...draft, clock, intervalMs, policy, emit: emitFor({ topology, source: id }) }
    const news = observations.filter((observation) => observation.source === id)
    for (const observation of news.toSorted((a, b) => a.at - b.at)) fold(source, observation, context)
  }
  const removalClocks = known.removalClocks.filter((removed) => clock - removed < policy.confirm)
  const state = { ...known, clock, sources, removalClocks }
  return viewOf({ state, policy, intervalMs, emit: emitFor({ topology }) }, input.self)
}

/** Removes who is due, within the guard; says when the guard goes up and down. */
function removeDue(view: View, draft: Draft): void {
  const { state, standings, emit } = view
  const { due, guard } = removals(view, draft)
  for (const node of due) {
    state.removed.push(node)
    state.removalClocks.push(state.clock)
    standings.set(node, { kind: 'removed' })
    emit('member_absent', 'no source lists it any more', node)
  }
  view.guard = guard
  if (!noteCondition(state, 'guard', guard !== undefined)) return
  if (guard === undefined) return emit('guard_released', 'no more members are left out than the budget allows')
  const message = `${guard.absent} of ${guard.members} members are left out at once, more than the budget: kept until the sources have insisted for confirm; check them`
  emit('guard_raised', message)
}

/** What becomes of this node itself: it goes when every topology that ever listed it says so. */
function selfVerdict(views: readonly View[], draft: Draft): 'wanted' | 'leaving' | 'gone' {
  const verdicts = views.filter(({ knowsSelf }) => knowsSelf).map((view) => verdictOf(draft.input.self, view, draft))
  const isLeaving = ({ hold }: Verdict) => hold?.reason === 'leaving'
  if (!verdicts.every((verdict) => verdict.cut !== undefined || isLeaving(verdict))) return 'wanted'
  if (verdicts.some(isLeaving)) return 'leaving'
  return verdicts.length > 0 ? 'gone' : 'wanted'
}

/** Cuts links that were listed once and that no topology wants any more; every topology that knows the node has a veto. */
function planCuts(views: readonly View[], draft: Draft): Pick<Plan, 'disconnect' | 'hold'> {
  const disconnect: Plan['disconnect'] = []
  const hold: Plan['hold'] = []
  const standing = views.flatMap(({ standings }) => [...standings.keys()])
  // Self has no link to cut, and is judged by itself.
  const questioned = new Set(standing.filter((node) => draft.linked.has(node) && node !== draft.input.self))
  for (const node of questioned) {
    const knowing = views.filter((view) => view.standings.has(node) || (views.length > 1 && view.knows(node)))
    const verdicts = knowing.map((view) => verdictOf(node, view, draft))
    const cuts = verdicts.flatMap(({ cut }) => cut ?? [])
    if (cuts.length === verdicts.length) {
      disconnect.push({ node, reason: cuts.includes('leaving') ? 'leaving' : 'absent' })
      continue
    }
    const [held] = verdicts.flatMap((verdict) => verdict.hold ?? [])
    if (held !== undefined) hold.push({ node, ...held })
  }
  return { disconnect, hold }
}

interface Verdict {
  cut?: DisconnectReason
  hold?: { reason: HoldReason; until?: number }
}

/** What one topology that knows a node says of its link. Neither `cut` nor `hold`: it is wanted. */
function verdictOf(node: NodeName, view: View, { input: { now }, due }: Draft): Verdict {
  const { policy, state, intervalMs } = view
  const standing = view.standings.get(node)
  function cut(reason: DisconnectReason): Verdict {
    return policy.disconnect === 'never' ? { hold: { reason: 'policy' } } : { cut: reason }
  }
  function holdFor(leftMs: number, reason: HoldReason): Verdict {
    const until = now + Math.max(0, leftMs)
    due(Math.min(until, now + intervalMs))
    return { hold: { reason, until } }
  }
  if (standing === undefined) return {}
  if (standing.kind === 'removed') return cut('absent')
  if (standing.kind === 'kept') return { hold: { reason: standing.reason } }
  if (standing.kind === 'leaving') {
    if (standing.failing) return { hold: { reason: 'leaving' } }
    const leftMs = standing.sinceClock + policy.drain - state.clock
    return leftMs <= 0 ? cut('leaving') : holdFor(leftMs, 'leaving')
  }
  if (view.guard !== undefined) return holdFor(policy.confirm - standing.missedMs, 'budget')
  if (standing.misses < policy.misses) return { hold: { reason: 'misses' } }
  return holdFor(graceOf(view) - standing.missedMs, 'grace')
}
