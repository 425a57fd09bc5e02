import { peersAfter, planDials, sortOutUnlinked, type Unlinked } from './dial.ts'
import { type FoldEvent, fold, unheardSource } from './fold.ts'
import type { Observation } from './member.ts'
import type { NodeName } from './node.ts'
import type { Policy } from './policy.ts'
import { noteCondition, report } from './report.ts'
import { graceOf, removals, type View, viewOf } from './standing.ts'
import { emptyState, type State, type TopologyState, workingCopy } from './state.ts'

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
  const views = new Map<string, View>()
  const reports: Plan['topologies'] = {}
  const unlinked = new Map<NodeName, Unlinked>()
  for (const [topology, asked] of Object.entries(input.topologies)) {
    const view = observe(topology, asked, state, draft)
    const guard = removeDue(topology, view, draft)
    const linkedMembers = sortOutUnlinked(topology, view, unlinked, state, draft)
    reports[topology] = report(topology, view, guard, linkedMembers, draft)
    views.set(topology, view)
  }
  const verdict = selfVerdict([...views.values()], draft)
  const leave = verdict === 'gone' || input.leaving === true
  // A node on its way out dials nobody; what it knows of its peers stays.
  const dials = planDials(leave || verdict === 'leaving' ? new Map() : unlinked, draft)
  const cuts = planCuts([...views.values()], draft)
  return {
    connect: dials.connect,
    disconnect: leave ? [] : cuts.disconnect,
    hold: [...dials.hold, ...cuts.hold],
    leave,
    topologies: reports,
    events: draft.events,
    state: {
      version: 1,
      self: input.self,
      at: input.now,
      topologies: Object.fromEntries([...views].map(([topology, view]) => [topology, view.state])),
      peers: peersAfter(
        state,
        [...unlinked].map(([node, { peer }]) => [node, dials.peers.get(node) ?? peer]),
        draft,
      ),
    },
    recheckAt,
  }
}

// With nothing pending there is nothing to wait for; an hour keeps a lost wake-up from being for ever.
const RECHECK_MS = 3_600_000
// The period that an interval of `never` counts as: what an operator who asks by hand does at most.
const NEVER_MS = 60_000

/** The state to go on from: one of another version or node is discarded, and no stored instant lies ahead of now. */
function adoptState(before: State | undefined, { input, events }: Draft): State {
  if (before === undefined) return emptyState(input.self, input.now)
  if (before.version !== 1 || before.self !== input.self) {
    const message = `expected version 1 of ${input.self}, got version ${before.version} of ${before.self}: starting anew, nobody is cut for what it knew`
    events.push({ type: 'state_discarded', message })
    return emptyState(input.self, input.now)
  }
  return { ...before, at: Math.min(before.at, input.now) }
}

/** Advances the topology's clock, folds what came in and works out where each node stands. */
function observe(topology: string, asked: PlanTopology, state: State, draft: Draft): View {
  const { input, linked, fresh, renewed, events } = draft
  const intervalMs = asked.intervalMs > 0 ? asked.intervalMs : NEVER_MS
  const known = Object.hasOwn(state.topologies, topology) ? state.topologies[topology] : undefined
  const clock = (known?.clock ?? 0) + Math.min(Math.max(0, input.now - state.at), intervalMs)
  const sources: TopologyState['sources'] = {}
  for (const id of asked.sources) {
    const heard = known !== undefined && Object.hasOwn(known.sources, id) ? known.sources[id] : undefined
    const source = workingCopy(heard ?? unheardSource(), input.now, linked)
    sources[id] = source
    const context = {
      self: input.self,
      now: input.now,
      clock,
      intervalMs,
      policy: asked.policy,
      linked,
      emit(event: FoldEvent) {
        if (event.type === 'member_listed' && event.node !== undefined) fresh.add(event.node)
        if (event.type === 'member_renewed' && event.node !== undefined) renewed.add(event.node)
        events.push({ topology, source: id, ...event })
      },
    }
    const news = asked.observations.filter((observation) => observation.source === id)
    for (const observation of news.toSorted((a, b) => a.at - b.at)) fold(source, observation, context)
  }
  const after: TopologyState = {
    clock,
    formed: known?.formed ?? false,
    sources,
    removed: known?.removed ?? [],
    removalClocks: known?.removalClocks.filter((removed) => clock - removed < asked.policy.confirm) ?? [],
    reported: known?.reported ?? [],
  }
  return viewOf(after, input.self, asked.policy, intervalMs)
}

/** Removes who is due, within the guard; says when the guard goes up and down. */
function removeDue(topology: string, view: View, { input, linked, events }: Draft): PlanTopologyReport['guard'] {
  const { state } = view
  const { due, guard } = removals(view, linked)
  for (const node of due) {
    state.removed.push(node)
    state.removalClocks.push(state.clock)
    view.standings.set(node, { kind: 'removed' })
    events.push({ type: 'member_absent', topology, node, message: 'no source lists it any more' })
  }
  const raised = guard !== undefined && guard.absent > due.length
  view.guarded = raised
  noteCondition(
    state,
    'guard',
    raised,
    () => {
      const message = `${guard?.absent} of ${guard?.members} members are left out at once, more than the budget: kept until the sources have insisted for confirm; check them`
      events.push({ type: 'guard_raised', topology, message })
    },
    () =>
      events.push({ type: 'guard_released', topology, message: 'no more members are left out than the budget allows' }),
  )
  if (!raised) return undefined
  return { absent: guard.absent, members: guard.members, until: input.now + guard.untilClock - state.clock }
}

/** What becomes of this node itself: it goes when every topology that ever listed it says so. */
function selfVerdict(views: readonly View[], { input, due }: Draft): 'wanted' | 'leaving' | 'gone' {
  const verdicts = views.flatMap((view) => {
    if (!view.knowsSelf) return []
    const verdict = verdictOf(input.self, view, input.now)
    if (verdict.until !== undefined) due(Math.min(verdict.until, input.now + view.intervalMs))
    return [verdict.cut ? 'gone' : verdict.hold === 'leaving' ? 'leaving' : 'wanted'] as const
  })
  if (verdicts.length === 0 || verdicts.includes('wanted')) return 'wanted'
  return verdicts.includes('leaving') ? 'leaving' : 'gone'
}

/** Cuts links that were listed once and that no topology wants any more; every topology that knows the node has a veto. */
function planCuts(views: readonly View[], { input, linked, due }: Draft): Pick<Plan, 'disconnect' | 'hold'> {
  const disconnect: Plan['disconnect'] = []
  const hold: Plan['hold'] = []
  const standing = views.flatMap(({ standings }) => [...standings.keys()])
  // Self has no link to cut, and is judged by itself.
  const questioned = new Set(standing.filter((node) => linked.has(node) && node !== input.self))
  for (const node of questioned) {
    const knowing = views.filter((view) => view.standings.has(node) || (views.length > 1 && view.knows(node)))
    const verdicts = knowing.map((view) => ({ view, ...verdictOf(node, view, input.now) }))
    for (const { until, view } of verdicts) {
      if (until !== undefined) due(Math.min(until, input.now + view.intervalMs))
    }
    if (verdicts.every(({ cut }) => cut !== undefined)) {
      disconnect.push({ node, reason: verdicts.some(({ cut }) => cut === 'leaving') ? 'leaving' : 'absent' })
      continue
    }
    const held = verdicts.find((verdict) => verdict.hold !== undefined)
    if (held?.hold !== undefined)
      hold.push({ node, reason: held.hold, ...(held.until !== undefined && { until: held.until }) })
  }
  return { disconnect, hold }
}

interface Verdict {
  cut?: DisconnectReason
  hold?: HoldReason
  until?: number
}

/** What one topology that knows a linked node says of it. Neither `cut` nor `hold`: it is wanted. */
function verdictOf(node: NodeName, view: View, now: number): Verdict {
  const { policy, state, standings, guarded } = view
  const standing = standings.get(node)
  const cut = (reason: DisconnectReason): Verdict =>
    policy.disconnect === 'never' ? { hold: 'policy' } : { cut: reason }
  if (standing === undefined) return {}
  if (standing.kind === 'removed') return cut('absent')
  if (standing.kind === 'kept') return { hold: standing.reason }
  if (standing.kind === 'leaving') {
    const left = standing.sinceClock + policy.drain - state.clock
    return left <= 0 ? cut('leaving') : { hold: 'leaving', until: now + left }
  }
  if (guarded) return { hold: 'budget', until: now + Math.max(0, policy.confirm - standing.missedMs) }
  if (standing.misses < policy.misses) return { hold: 'misses' }
  return { hold: 'grace', until: now + Math.max(0, graceOf(view) - standing.missedMs) }
}
