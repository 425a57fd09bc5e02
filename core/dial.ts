import { hash32 } from './hash.ts'
import type { NodeName } from './node.ts'
import { decayedPenalty, dialWait, raisedPenalty } from './penalty.ts'
import type { Draft, HoldReason, Plan } from './plan.ts'
import type { Policy } from './policy.ts'
import { forget, forgetClock, isDue, type Standing, type View } from './standing.ts'
import { dictionary, type PeerState, type State } from './state.ts'

/** A known peer without link, and how its dials stand. */
export interface Unlinked {
  /** False while it is leaving: never dialled. */
  readonly wanted: boolean
  /** The view that it was found in, whose policy it is dialled by. */
  readonly view: View
  /** Changes with the dial that is ordered. */
  peer: PeerState
}

interface Settled {
  readonly peer: PeerState
  /** A dial that was under way ended without a link. */
  readonly failed: boolean
}

/** The peer after the time that has passed: a dial that ended without a link is a failed one and costs a penalty. */
function settleDial(node: NodeName, before: PeerState, { policy }: View, draft: Draft): Settled {
  const { now } = draft.input
  const peer = { ...before }
  // A clock that was set back must not leave a dial under way for ever, nor a wait longer than the longest.
  if ((peer.dialledAt ?? 0) > now) peer.dialledAt = now
  if ((peer.penaltyAt ?? 0) > now) peer.penaltyAt = now
  if ((peer.retryAt ?? 0) > now + policy.maxWait) peer.retryAt = now + policy.maxWait
  const { dialledAt, ...rest } = peer
  if (dialledAt === undefined) return { peer, failed: false }
  const outcome = draft.outcomes.get(node)
  if (outcome !== false && now - dialledAt < policy.dialTimeout) return { peer, failed: false }
  return { peer: penalised(node, rest, policy, draft), failed: true }
}

function penalised(node: NodeName, peer: PeerState, policy: Policy, { input: { self, now } }: Draft): PeerState {
  const penalty = raisedPenalty(decayedPenalty(peer, now, policy.halfLife))
  const wait = dialWait(penalty, policy.maxWait, { self, peer: node, attempt: peer.attempt })
  return { ...peer, penalty, penaltyAt: now, retryAt: now + wait }
}

/** Orders the dials that are due, at most `dialsPerRound` under way at once, in an order that differs from node to node. */
export function planDials(
  unlinked: ReadonlyMap<NodeName, Unlinked>,
  { input: { self, now }, due }: Draft,
): Pick<Plan, 'connect' | 'hold'> {
  const connect: Plan['connect'] = []
  const hold: Plan['hold'] = []
  const underWay = new Map<View, number>()
  const ready: { node: NodeName; order: number; dial: Unlinked }[] = []
  const countDial = (view: View) => underWay.set(view, (underWay.get(view) ?? 0) + 1)
  function holdUntil(node: NodeName, reason: HoldReason, until: number): void {
    hold.push({ node, reason, until })
    due(until)
  }
  for (const [node, dial] of unlinked) {
    const { view, peer, wanted } = dial
    const { dialledAt, retryAt = 0 } = peer
    if (!wanted) continue
    if (dialledAt !== undefined) {
      countDial(view)
      holdUntil(node, 'dialling', dialledAt + view.policy.dialTimeout)
    } else if (retryAt > now) {
      holdUntil(node, 'backoff', retryAt)
    } else {
      ready.push({ node, order: hash32(`${self} ${node}`), dial })
    }
  }
  ready.sort((a, b) => a.order - b.order)
  for (const { node, dial } of ready) {
    const { view, peer } = dial
    const { policy } = view
    if ((underWay.get(view) ?? 0) >= policy.dialsPerRound) {
      hold.push({ node, reason: 'round_full' })
      continue
    }
    countDial(view)
    const { retryAt: _over, ...rest } = peer
    const attempt = peer.attempt + 1
    const address = addressOf(node, view)
    dial.peer = { ...rest, attempt, dialledAt: now }
    connect.push({
      node,
      ...(address && { address }),
      attempt,
      reason: attempt > 1 ? 'retry' : peer.lost ? 'lost' : 'new',
    })
    due(now + policy.dialTimeout)
  }
  return { connect, hold }
}

/**
 * Settles every known node without link: lost, still dialling, failed; forgets those that are gone for good on evidence, and
 * enters the rest as wanted. Returns how many known nodes have a link.
 */
export function sortOutUnlinked(view: View, unlinked: Map<NodeName, Unlinked>, before: State, draft: Draft): number {
  const { policy, standings, state, emit } = view
  const { input, linked, fresh, renewed, due } = draft
  const without = view.known.filter((node) => !linked.has(node))
  const isLeaving = (node: NodeName) => standings.get(node)?.kind === 'leaving'
  // A known peer that is not remembered had a link until now.
  const isLost = (peer: PeerState | undefined) => peer === undefined || peer.linked === true
  const isLoss = (node: NodeName) => {
    return isLost(before.peers[node]) && !fresh.has(node) && !renewed.has(node) && !isLeaving(node)
  }
  // Lost together with too many others: that was us, not them. But those who take this node out would at once be dialled again, and take
  // it out again, many times a second: what happens anew before a penalty would have faded is no accident.
  const isMass = without.filter(isLoss).length > Math.max(1, Math.floor(policy.budget * view.members))
  const blameless = isMass && state.clock - (state.blamelessClock ?? -Infinity) >= policy.halfLife
  if (blameless) state.blamelessClock = state.clock
  function settle(node: NodeName): Settled {
    const peer = (!renewed.has(node) && before.peers[node]) || { attempt: 0 }
    if (!isLoss(node)) return settleDial(node, peer, view, draft)
    const { linked: _until, ...rest } = peer
    const lost: PeerState = { ...rest, lost: true }
    return { peer: blameless ? lost : penalised(node, lost, policy, draft), failed: false }
  }
  const gone = new Set<NodeName>()
  for (const node of without) {
    const { peer, failed } = settle(node)
    const leftMs = forgetClock(node, view) - state.clock
    const why = reasonToForget(standings.get(node), { view, failed, leftMs })
    if (why !== undefined) {
      gone.add(node)
      emit('member_forgotten', why, node)
      continue
    }
    due(input.now + Math.min(leftMs, view.intervalMs))
    const wanted = !isLeaving(node)
    const earlier = unlinked.get(node)
    if (earlier === undefined || (wanted && !earlier.wanted)) unlinked.set(node, { wanted, view, peer })
  }
  forget(state, gone)
  return view.known.length - without.length - (view.knowsSelf ? 1 : 0)
}

/** Why a node without link is not worth another dial, if so. */
function reasonToForget(
  standing: Standing | undefined,
  { view, failed, leftMs }: { view: View; failed: boolean; leftMs: number },
): string | undefined {
  if (standing?.kind === 'removed') return 'removed, and its link is gone'
  if (standing?.kind === 'leaving') return standing.listed ? undefined : 'it left'
  if (standing?.kind === 'absent') {
    if (failed) return 'no source lists it, it has no link and a dial failed'
    if (isDue(standing, view)) return 'no source lists it, and it has no link'
  }
  return leftMs <= 0 ? 'it has no link, and no answer has named it for long' : undefined
}

function addressOf(node: NodeName, { state }: View): { host: string; port: number } | undefined {
  const [address] = Object.values(state.sources).flatMap(({ details }) => details[node]?.address ?? [])
  return address
}

/** What is remembered of the peers: all that are known without link, and of the linked ones a penalty that is left. */
export function peersAfter(
  before: State,
  unlinked: ReadonlyMap<NodeName, Unlinked>,
  { input: { now, topologies }, linked, renewed }: Draft,
): State['peers'] {
  const peers = [...unlinked].map(([node, { peer }]): [NodeName, PeerState] => [node, peer])
  const [first] = Object.values(topologies)
  for (const [node, { penalty = 0, penaltyAt = 0 }] of Object.entries(before.peers)) {
    if (first === undefined || !linked.has(node) || renewed.has(node)) continue
    if (decayedPenalty({ penalty, penaltyAt }, now, first.policy.halfLife) === 0) continue
    peers.push([node, { attempt: 0, linked: true, penalty, penaltyAt: Math.min(penaltyAt, now) }])
  }
  return dictionary(peers)
}
