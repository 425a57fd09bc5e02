import { changeOf } from './change.ts'
import type { Member, Observation } from './member.ts'
import { isNodeName, type NodeName } from './node.ts'
import type { PlanEvent } from './plan.ts'
import type { Policy } from './policy.ts'
import type { Missing, SourceState } from './state.ts'

/** What a fold needs to know beside the source and the observation, and where it reports to. */
export interface FoldContext {
  readonly self: NodeName
  readonly now: number
  readonly clock: number
  /** The longest time that one miss can count for. */
  readonly intervalMs: number
  readonly policy: Policy
  /** Connected now, self included. */
  readonly linked: ReadonlySet<NodeName>
  readonly emit: (event: FoldEvent) => void
}

export type FoldEvent = Pick<PlanEvent, 'type' | 'node' | 'message'>

/** A source that was never heard. */
export function unheardSource(): SourceState {
  return { listed: [], missing: {}, details: {}, leavingClocks: {}, returnedClocks: {} }
}

/**
 * Folds one observation into what is known from its source. `complete` replaces, `partial` and a doubted `complete` add,
 * `failed` keeps. What was counted before is no news and changes nothing.
 */
export function fold(source: SourceState, observation: Observation, context: FoldContext): void {
  if (!isNews(source, observation.at, context.now)) return
  source.at = Math.min(observation.at, context.now)
  if (observation.at > context.now) source.ahead = observation.at
  if (observation.outcome === 'failed') return foldFailure(source, observation, context)

  if (source.outcome === 'failed') context.emit({ type: 'source_recovered', message: 'it answers again' })
  delete source.error
  const tooMany = observation.members.length > context.policy.maxMembers
  const complete = observation.outcome === 'complete' && !tooMany
  if (tooMany) {
    const message = `it listed ${observation.members.length} members, more than maxMembers ${context.policy.maxMembers}: the rest is not read`
    if (source.outcome !== 'partial') context.emit({ type: 'members_skipped', message })
  }
  const members = tooMany ? observation.members.slice(0, context.policy.maxMembers) : observation.members
  if (!repeatsLastAnswer(source, members)) readAnswer(source, members, { ...context, complete })
  const doubt = complete ? doubtOf(source, context) : undefined
  noteDoubt(source, doubt, context)
  if (doubt !== undefined || complete) {
    const elapsedMs = Math.min(source.at - (source.answeredAt ?? source.at), context.intervalMs)
    for (const node in source.missing) {
      const { misses, missedMs, ...rest } = source.missing[node] as Missing
      const countedMs = misses > 0 ? missedMs + elapsedMs : missedMs
      const counted = doubt === undefined ? { misses: misses + 1, missedMs: countedMs } : { misses: 0, missedMs: 0 }
      // A new object: the one before belongs to the state that was given.
      source.missing[node] = { ...rest, ...counted }
    }
  }
  source.outcome = complete ? 'complete' : 'partial'
  source.answeredAt = source.at
  source.answeredClock = context.clock
}

function isNews(source: SourceState, at: number, now: number): boolean {
  if (source.at !== undefined && Math.min(at, now) <= source.at) return false
  return at <= now || source.ahead === undefined || at > source.ahead
}

function foldFailure(source: SourceState, failure: Observation & { outcome: 'failed' }, context: FoldContext): void {
  const { code, message } = failure.error
  if (source.outcome !== 'failed' || source.error?.code !== code) {
    context.emit({ type: 'source_failed', message: `${message} (${code}); what it said before stands` })
  }
  source.outcome = 'failed'
  source.error = { code, message }
  const known = new Set(source.listed)
  source.details = { ...source.details }
  // A stale answer may teach whom to dial; it says nothing about those it knew before.
  for (const member of (failure.members ?? []).slice(0, context.policy.maxMembers)) {
    if (!isNodeName(member.node) || known.has(member.node) || member.node in source.missing) continue
    source.missing[member.node] = { namedClock: context.clock, misses: 0, missedMs: 0 }
    adoptDetails(source, member, context)
    context.emit({ type: 'member_listed', node: member.node, message: 'listed in a stale answer' })
  }
}

/** The steady state, told without building a set: the same names in the same order, and nothing said beside them. */
function repeatsLastAnswer(source: SourceState, members: readonly Member[]): boolean {
  const { listed, details, leavingClocks } = source
  if (members.length !== listed.length || !isEmpty(leavingClocks)) return false
  const saysNoMore = isEmpty(details)
  return members.every((member, index) => {
    if (member.node !== listed[index] || member.status !== 'up') return false
    if (member.id === undefined && member.address === undefined) {
      return saysNoMore || details[member.node] === undefined
    }
    return sameDetails(details[member.node], member)
  })
}

function readAnswer(
  source: SourceState,
  answer: readonly Member[],
  context: FoldContext & { complete: boolean },
): void {
  const { clock, linked } = context
  const { members, listed, added, unnamed, skipped } = changeOf(source.listed, answer)
  if (skipped.length > 0) {
    const sample = JSON.stringify(skipped[0])?.slice(0, 80)
    context.emit({ type: 'members_skipped', message: `${skipped.length} skipped: expected node names, got ${sample}` })
  }
  source.listed = listed
  source.details = { ...source.details }
  const nobodyLeaves = isEmpty(source.leavingClocks)
  for (const member of members) {
    const plain = member?.status === 'up' && member.id === undefined && member.address === undefined
    if (!(plain && nobodyLeaves) && isNodeName(member?.node)) adoptDetails(source, member, context)
  }
  for (const node of added) {
    const missing = source.missing[node]
    if (missing?.linked) noteReturn(source, node, clock)
    delete source.missing[node]
    context.emit({ type: 'member_listed', node, message: missing ? 'listed again' : 'listed' })
  }
  for (const node of unnamed) {
    const missing: Missing = { namedClock: source.answeredClock ?? clock, misses: 0, missedMs: 0 }
    // Only an answer that claims to be whole leaves anybody out.
    source.missing[node] = context.complete && linked.has(node) ? { ...missing, linked: true } : missing
  }
}

function adoptDetails(source: SourceState, member: Member, context: FoldContext): void {
  const { node, status, id, address } = member
  const before = source.details[node]
  const renewed = before?.id !== undefined && id !== undefined && before.id !== id
  if (renewed)
    context.emit({ type: 'member_renewed', node, message: 'listed with another id: a new node under an old name' })
  if (renewed || status === 'up') delete source.leavingClocks[node]
  if (status === 'leaving' && source.leavingClocks[node] === undefined) {
    source.leavingClocks[node] = context.clock
    context.emit({ type: 'member_leaving', node, message: 'its source says that it is leaving' })
  }
  if (sameDetails(before, member)) return
  // An answer that says less than one before (no id, say) takes nothing back within one life of the node.
  source.details[node] = {
    ...(renewed ? {} : before),
    ...(id === undefined ? {} : { id }),
    ...(address === undefined ? {} : { address }),
  }
}

function sameDetails(before: SourceState['details'][string] | undefined, { id, address }: Member): boolean {
  if (id !== undefined && before?.id !== id) return false
  if (address === undefined) return true
  return before?.address?.host === address.host && before.address.port === address.port
}

function isEmpty(record: object): boolean {
  for (const _key in record) return false
  return true
}

function noteReturn(source: SourceState, node: NodeName, clock: number): void {
  const others = Object.entries(source.returnedClocks).filter(([other]) => other !== node)
  const latest = others.toSorted(([, a], [, b]) => b - a).slice(0, 1)
  source.returnedClocks = { ...Object.fromEntries(latest), [node]: clock }
}

/** Why this complete answer is not believed in what it leaves out, if so. */
function doubtOf(source: SourceState, { self, clock, policy }: FoldContext): string | undefined {
  const returns = Object.values(source.returnedClocks).filter((returned) => clock - returned < policy.confirm)
  const latest = Math.max(...returns)
  // Two different nodes start the doubt; each further return within it, whosoever, prolongs it.
  const doubtedNow = source.doubtedUntilClock !== undefined && clock < source.doubtedUntilClock
  if (returns.length >= 2 || (returns.length === 1 && doubtedNow)) source.doubtedUntilClock = latest + policy.confirm
  if (source.doubtedUntilClock !== undefined && clock < source.doubtedUntilClock) {
    return 'it left out nodes that were there all the while: it answers samples'
  }
  delete source.doubtedUntilClock
  return source.listed.some((node) => node !== self) ? undefined : 'it lists nobody else'
}

function noteDoubt(source: SourceState, doubt: string | undefined, context: FoldContext): void {
  if (doubt !== undefined && !source.doubted)
    context.emit({ type: 'source_doubted', message: `${doubt}; nobody is removed for it` })
  if (doubt === undefined && source.doubted)
    context.emit({ type: 'source_trusted', message: 'its answers are believed again' })
  if (doubt === undefined) delete source.doubted
  else source.doubted = true
}
