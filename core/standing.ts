import type { NodeName } from './node.ts'
import type { Draft, Emit, PlanTopologyReport } from './plan.ts'
import type { Policy } from './policy.ts'
import type { SourceState, TopologyState } from './state.ts'

/** Where a node stands in one topology, when it is not plainly listed and wanted. */
export type Standing =
  /** `failing`: all that said so fail now. They cut nobody, and where its next life is listed they cannot say so. */
  | { kind: 'leaving'; sinceClock: number; listed: boolean; failing: boolean }
  /** Every source that ever listed it leaves it out; the numbers are those of the source that did so least. */
  | { kind: 'absent'; misses: number; missedMs: number }
  /** Decided to go; stays so until a source names it or is doubted. */
  | { kind: 'removed' }
  /** Left out, but by whom nobody is cut for. */
  | { kind: 'kept'; reason: 'source_failed' | 'doubted'; missedMs: number }

/** One topology while it is being planned. */
export interface Planned {
  readonly state: TopologyState
  readonly policy: Policy
  /** The interval; 1 minute where it is `never`. */
  readonly intervalMs: number
  /** Adds an event about the topology. */
  readonly emit: Emit
}

/** What follows from its state. */
export interface View extends Planned {
  /** Every node known from any of its sources, once each. */
  readonly known: readonly NodeName[]
  /** How many are known and not leaving. */
  readonly members: number
  /** Of the known nodes, those that are not plainly listed and wanted. */
  readonly standings: Map<NodeName, Standing>
  /** More members are left out than the budget allows: only confirmed ones go. */
  guard?: PlanTopologyReport['guard']
  /** Whether any source knows this node itself. */
  readonly knowsSelf: boolean
  /** Whether any source knows a node. */
  readonly knows: (node: NodeName) => boolean
  /** The sources that know a node, one that is known. */
  readonly knowers: (node: NodeName) => readonly SourceState[]
}

/** Works out where each node stands that is leaving or that the last answers did not name. */
export function viewOf(planned: Planned, self: NodeName): View {
  const { state } = planned
  const sources = Object.values(state.sources)
  const listedBy = new Map<SourceState, ReadonlySet<NodeName>>()
  function lists(source: SourceState, node: NodeName): boolean {
    const listed = listedBy.get(source) ?? new Set(source.listed)
    listedBy.set(source, listed)
    return listed.has(node)
  }
  const knowing = (node: NodeName) => sources.filter((source) => node in source.missing || lists(source, node))
  const knows = (node: NodeName) => knowing(node).length > 0
  const knowers = (node: NodeName) => (sources.length === 1 ? sources : knowing(node))
  state.removed = state.removed.filter((node) => {
    const all = knowing(node)
    return all.length > 0 && all.every(({ missing, doubted }) => node in missing && !doubted)
  })
  const removed = new Set(state.removed)
  const standings = new Map<NodeName, Standing>()
  for (const source of sources) {
    for (const node of [...Object.keys(source.missing), ...Object.keys(source.leavingClocks)]) {
      const standing = standingOf(node, knowers(node), removed.has(node))
      if (standing !== undefined) standings.set(node, standing)
    }
  }
  const known = knownNodes(sources)
  const leaving = [...standings.values()].filter(({ kind }) => kind === 'leaving').length
  return {
    ...planned,
    known,
    members: known.length - leaving,
    standings,
    knows,
    knowers,
    knowsSelf: known.includes(self),
  }
}

function knownNodes(sources: readonly SourceState[]): NodeName[] {
  const [only, ...others] = sources
  if (only === undefined) return []
  // One source names each node once: no set to build, which is most of the cost for 100,000 nodes.
  if (others.length === 0) return only.listed.concat(Object.keys(only.missing))
  return [...new Set(sources.flatMap(({ listed, missing }) => [...listed, ...Object.keys(missing)]))]
}

function standingOf(node: NodeName, knowers: readonly SourceState[], removed: boolean): Standing | undefined {
  let [leavingClock, leavingFails] = [Infinity, true]
  let [listed, listedNow, failing, doubting] = [false, false, false, false]
  let [misses, leastMs, mostMs] = [Infinity, Infinity, 0]
  for (const { outcome, doubted, leavingClocks, missing } of knowers) {
    const left = missing[node]
    leavingClock = Math.min(leavingClock, leavingClocks[node] ?? Infinity)
    leavingFails &&= leavingClocks[node] === undefined || outcome === 'failed'
    listed ||= left === undefined
    listedNow ||= left === undefined && outcome !== 'failed'
    failing ||= outcome === 'failed'
    doubting ||= outcome === 'partial' || doubted === true
    misses = Math.min(misses, left?.misses ?? 0)
    leastMs = Math.min(leastMs, left?.missedMs ?? 0)
    mostMs = Math.max(mostMs, left?.missedMs ?? 0)
  }
  if (leavingClock !== Infinity) return { kind: 'leaving', sinceClock: leavingClock, listed, failing: leavingFails }
  if (listedNow) return undefined
  if (removed) return { kind: 'removed' }
  if (failing) return { kind: 'kept', reason: 'source_failed', missedMs: mostMs }
  if (doubting) return { kind: 'kept', reason: 'doubted', missedMs: mostMs }
  return { kind: 'absent', misses, missedMs: leastMs }
}

/** How long the answers must leave a node out: never below 3 intervals, or `misses` could not tell a glitch from a wish. */
export function graceOf({ policy, intervalMs }: Pick<View, 'policy' | 'intervalMs'>): number {
  return Math.max(policy.grace, 3 * intervalMs)
}

/** Whether the answers have left a node out often enough and for long enough. */
export function isDue(
  { misses, missedMs }: { misses: number; missedMs: number },
  view: Pick<View, 'policy' | 'intervalMs'>,
): boolean {
  return misses >= view.policy.misses && missedMs >= graceOf(view)
}

/**
 * Decides who is removed now. Within the budget every node whose misses are due; beyond it only those whose own misses add up
 * to `confirm`: all or none, so that no agent chooses other victims than its neighbour.
 */
export function removals(
  view: View,
  { input, linked }: Draft,
): { due: NodeName[]; guard?: PlanTopologyReport['guard'] } {
  const { state, policy, standings } = view
  const absent = [...standings].flatMap(([node, standing]) =>
    standing.kind === 'absent' && linked.has(node) ? [{ node, ...standing }] : [],
  )
  if (absent.length === 0) return { due: [] }
  const recent = state.removalClocks.length
  const members = view.members - state.removed.length + recent + (view.knowsSelf ? 0 : 1)
  const raised = absent.length + recent > Math.max(1, Math.floor(policy.budget * members))
  const due = absent.filter((each) => isDue(each, view))
  const going = raised ? due.filter(({ missedMs }) => missedMs >= policy.confirm) : due
  const least = absent.reduce((smallest, { missedMs }) => Math.min(smallest, missedMs), policy.confirm)
  return {
    due: going.map(({ node }) => node),
    // Until those absent now will all be confirmed.
    guard:
      going.length < absent.length && raised
        ? { absent: absent.length, members, until: input.now + policy.confirm - least }
        : undefined,
  }
}

/** When a node without link is forgotten unless it is named again, as a clock time. */
export function forgetClock(node: NodeName, { policy, knowers }: View): number {
  // A start long after the last one finds it below 0.
  let namedClock = -Infinity
  let [answering, naming] = [false, false]
  for (const { outcome, missing, answeredClock } of knowers(node)) {
    const left = missing[node]
    namedClock = Math.max(namedClock, left?.namedClock ?? answeredClock ?? 0)
    answering ||= outcome !== 'failed'
    naming ||= outcome !== 'failed' && left === undefined
  }
  return namedClock + (answering && !naming ? Math.min(policy.confirm, policy.stale) : policy.stale)
}

/** Drops nodes from all that a topology knows. */
export function forget(state: TopologyState, nodes: ReadonlySet<NodeName>): void {
  if (nodes.size === 0) return
  state.removed = state.removed.filter((node) => !nodes.has(node))
  for (const source of Object.values(state.sources)) {
    // Most have been left out before: only a source that fell silent still lists whom it forgets.
    if ([...nodes].some((node) => !(node in source.missing))) {
      source.listed = source.listed.filter((node) => !nodes.has(node))
    }
    source.details = { ...source.details }
    for (const node of nodes) {
      delete source.missing[node]
      delete source.details[node]
      delete source.leavingClocks[node]
      delete source.returnedClocks[node]
    }
  }
}
