import { changeOf } from './change.ts'
import { excerpt } from './excerpt.ts'
import type { Member, Observation } from './member.ts'
import { isNodeName, type NodeName } from './node.ts'
import type { Draft, Emit } from './plan.ts'
import type { Policy } from './policy.ts'
import type { Missing, SourceState } from './state.ts'

/** What a fold needs to know beside the source and the observation, and where it reports to. */
export interface FoldContext extends Pick<Draft, 'input' | 'linked' | 'fresh' | 'renewed'> {
  readonly clock: number
  /** The longest time that one miss can count for. */
  readonly intervalMs: number
  readonly policy: Policy
  /** Adds an event about the source. */
  readonly emit: Emit
}

/**
 * Folds one observation into what is known from its source. `complete` replaces, `partial` and a doubted `complete` add,
 * `failed` keeps. What was counted before is no news and changes nothing.
 */
export function fold(source: SourceState, observation: Observation, context: FoldContext): void {
  const { emit, clock, intervalMs, policy } = context
  const { now } = context.input
  const { at } = observation
  if (!isNews(source, at, now)) return
  source.at = Math.min(at, now)
  if (at > now) source.ahead = at
  if (observation.outcome === 'failed') return foldFailure(source, observation, context)

  if (source.outcome === 'failed') emit('source_recovered', 'it answers again')
  delete source.error
  const count = observation.members.length
  const tooMany = count > policy.maxMembers
  const complete = observation.outcome === 'complete' && !tooMany
  if (tooMany && source.outcome !== 'partial') {
    emit(
      'members_skipped',
      `it listed ${count} members, more than maxMembers ${policy.maxMembers}: the rest is not read`,
    )
  }
  const members = tooMany ? observation.members.slice(0, policy.maxMembers) : observation.members
  if (!repeatsLastAnswer(source, members)) readAnswer(source, members, { ...context, complete })
  // Of a partial answer too: when the next complete one comes, who was brought back may be dead and forgotten.
  const found = doubtOf(source, context)
  const doubt = complete ? found : undefined
  noteDoubt(source, doubt, emit)
  if (complete) {
    const elapsedMs = Math.min(source.at - (source.answeredAt ?? source.at), intervalMs)
    for (const [node, missing] of Object.entries(source.missing)) {
      const { misses, missedMs } = missing
      const counted = { misses: misses + 1, missedMs: missedMs + (misses > 0 ? elapsedMs : 0) }
      // A new object: the one before belongs to the state that was given.
      source.missing[node] = { ...missing, ...(doubt === undefined ? counted : NO_MISSES) }
    }
  }
  source.outcome = complete ? 'complete' : 'partial'
  source.answeredAt = source.at
  source.answeredClock = clock
}

const NO_MISSES = { misses: 0, missedMs: 0 }

function isNews({ at: last, ahead = -Infinity }: SourceState, at: number, now: number): boolean {
  if (last !== undefined && Math.min(at, now) <= last) return false
  return at <= now || at > ahead
}

function foldFailure(source: SourceState, failure: Observation & { outcome: 'failed' }, context: FoldContext): void {
  const { emit, fresh, clock, policy } = context
  const { code, message } = failure.error
  if (source.outcome !== 'failed' || source.error?.code !== code) {
    emit('source_failed', `${message} (${code}); what it said before stands`)
  }
  source.outcome = 'failed'
  source.error = { code, message }
  const known = new Set(source.listed)
  source.details = { ...source.details }
  // A stale answer may teach whom to dial; it says nothing about those it knew before.
  for (const member of (failure.members ?? []).slice(0, policy.maxMembers)) {
    const { node } = member
    if (!isNodeName(node) || known.has(node) || node in source.missing) continue
    source.missing[node] = { namedClock: clock, ...NO_MISSES }
    adoptDetails(source, member, context)
    fresh.add(node)
    emit('member_listed', 'listed in a stale answer', node)
  }
}

/** The steady state, told without building a set: the same names in the same order, and nothing new said beside them. */
function repeatsLastAnswer({ listed, details, leavingClocks }: SourceState, members: readonly Member[]): boolean {
  if (members.length !== listed.length || !isEmpty(leavingClocks)) return false
  return members.every((member, index) => {
    return member?.node === listed[index] && member.status === 'up' && saysNoMore(member, details)
  })
}

function readAnswer(
  source: SourceState,
  answer: readonly Member[],
  context: FoldContext & { complete: boolean },
): void {
  const { clock, linked, fresh, emit } = context
  const { members, listed, added, unnamed, skipped } = changeOf(source.listed, answer)
  if (skipped.length > 0) {
    emit('members_skipped', `${skipped.length} skipped: expected node names, got ${excerpt(skipped[0])}`)
  }
  source.listed = listed
  source.details = { ...source.details }
  const nobodyLeaves = isEmpty(source.leavingClocks)
  for (const member of members) {
    const repeats = nobodyLeaves && member?.status === 'up' && saysNoMore(member, source.details)
    if (!repeats && isNodeName(member?.node)) adoptDetails(source, member, context)
  }
  for (const node of added) {
    const missing = source.missing[node]
    if (missing?.linked) noteReturn(source, node, clock)
    delete source.missing[node]
    fresh.add(node)
    emit('member_listed', missing ? 'listed again' : 'listed', node)
  }
  for (const node of unnamed) {
    const missing: Missing = { namedClock: source.answeredClock ?? clock, ...NO_MISSES }
    // Only an answer that claims to be whole leaves anybody out.
    source.missing[node] = context.complete && linked.has(node) ? { ...missing, linked: true } : missing
  }
}

function adoptDetails(source: SourceState, member: Member, { clock, renewed, emit }: FoldContext): void {
  const { node, status, id, address } = member
  const { details, leavingClocks } = source
  const before = details[node]
  const isNew = before?.id !== undefined && id !== undefined && before.id !== id
  if (isNew) {
    renewed.add(node)
    emit('member_renewed', 'listed with another id: a new node under an old name', node)
  }
  if (isNew || status === 'up') delete leavingClocks[node]
  if (status === 'leaving' && leavingClocks[node] === undefined) {
    leavingClocks[node] = clock
    emit('member_leaving', 'its source says that it is leaving', node)
  }
  if (saysNoMore(member, details)) return
  // An answer that says less than one before (no id, say) takes nothing back within one life of the node.
  details[node] = { ...(!isNew && before), ...(id !== undefined && { id }), ...(address && { address }) }
}

/** Whether a member has no id and no address but those that are known. */
function saysNoMore({ node, id, address }: Member, details: SourceState['details']): boolean {
  if (id === undefined && address === undefined) return true
  const known = details[node]
  if (id !== undefined && known?.id !== id) return false
  if (address === undefined) return true
  return known?.address?.host === address.host && known.address.port === address.port
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
function doubtOf(source: SourceState, { input, clock, policy }: FoldContext): string | undefined {
  const returns = Object.values(source.returnedClocks).filter((returned) => clock - returned < policy.confirm)
  let until = source.doubtedUntilClock ?? 0
  // Two different nodes start the doubt; each further return within it, whosoever, prolongs it.
  if (returns.length > (clock < until ? 0 : 1))
    until = returns.reduce((latest, returned) => Math.max(latest, returned), 0) + policy.confirm
  if (clock < until) {
    source.doubtedUntilClock = until
    return 'it left out nodes that were there all the while: it answers samples'
  }
  delete source.doubtedUntilClock
  return source.listed.some((node) => node !== input.self) ? undefined : 'it lists nobody else'
}

function noteDoubt(source: SourceState, doubt: string | undefined, emit: Emit): void {
  if (doubt === undefined) {
    if (source.doubted) emit('source_trusted', 'its answers are believed again')
    delete source.doubted
    return
  }
  if (!source.doubted) emit('source_doubted', `${doubt}; nobody is removed for it`)
  source.doubted = true
}
