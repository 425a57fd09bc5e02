import { hash32 } from './hash.ts'
import type { NodeName } from './node.ts'
import { decayedPenalty, dialWait, raisedPenalty } from './penalty.ts'
import type { Draft, Plan } from './plan.ts'
import type { Policy } from './policy.ts'
import { forget, forgetClock, isDue, type Standing, type View } from './standing.ts'
import { dictionary, type PeerState, type State } from './state.ts'

/** A known peer without link, and how its dials stand. */
export interface Unlinked {
  /** False while it is leaving: never dialled. */
  readonly wanted: boolean
  readonly topology: string
  readonly policy: Policy
  readonly peer: PeerState
  readonly address?: { host: string; port: number }
}

/** What settles a peer: who asks, when, under which policy, and what became of the dial under way, if that is known. */
export interface Settling {
  readonly self: NodeName
  readonly now: number
  readonly policy: Policy
  readonly outcome: boolean | undefined
}

/** Whether a known peer without link had one until now. */
export function isLost(peer: PeerState | undefined): boolean {
  return peer === undefined || peer.linked === true
}

/** The peer after the time that has passed: a dial that ended without a link is a failed one and costs a penalty. */
export function settleDial(
  node: NodeName,
  before: PeerState,
  settling: Settling,
): { peer: PeerState; failed: boolean } {
  const { now, policy, outcome } = settling
  const peer = { ...before }
  // A clock that was set back must not leave a dial under way for ever, nor a wait longer than the longest.
  if (peer.dialledAt !== undefined) peer.dialledAt = Math.min(peer.dialledAt, now)
  if (peer.penaltyAt !== undefined) peer.penaltyAt = Math.min(peer.penaltyAt, now)
  if (peer.retryAt !== undefined) peer.retryAt = Math.min(peer.retryAt, now + policy.maxWait)
  if (peer.dialledAt === undefined) return { peer, failed: false }
  if (outcome !== false && now - peer.dialledAt < policy.dialTimeout) return { peer, failed: false }
  delete peer.dialledAt
  return { peer: penalised(node, peer, settling), failed: true }
}

/** A peer whose link is gone. One that is lost together with too many others (`blameless`) pays nothing: that was us, not them. */
export function loseLink(
  node: NodeName,
  before: PeerState | undefined,
  { blameless, ...settling }: Omit<Settling, 'outcome'> & { blameless: boolean },
): PeerState {
  const { penalty, penaltyAt } = before ?? {}
  const peer: PeerState = { attempt: 0, lost: true }
  if (penalty !== undefined && penaltyAt !== undefined) Object.assign(peer, { penalty, penaltyAt })
  return blameless ? peer : penalised(node, peer, { ...settling, outcome: undefined })
}

function penalised(node: NodeName, peer: PeerState, { self, now, policy }: Settling): PeerState {
  const penalty = raisedPenalty(penaltyOf(peer, now, policy))
  const wait = dialWait(penalty, policy.maxWait, { self, peer: node, attempt: peer.attempt })
  return { ...peer, penalty, penaltyAt: now, retryAt: now + wait }
}

function penaltyOf({ penalty = 0, penaltyAt = 0 }: PeerState, now: number, policy: Policy): number {
  return decayedPenalty({ penalty, penaltyAt }, now, policy.halfLife)
}

/** What is remembered of a peer that has a link: its penalty, until it is gone. The wait is over with the link. */
export function linkedPeer(peer: PeerState, now: number, policy: Policy): PeerState | undefined {
  const { penalty, penaltyAt } = peer
  if (penalty === undefined || penaltyAt === undefined || penaltyOf(peer, now, policy) === 0) return undefined
  return { attempt: 0, linked: true, penalty, penaltyAt: Math.min(penaltyAt, now) }
}

/** Orders the dials that are due, at most `dialsPerRound` under way at once, in an order that differs from node to node. */
export function planDials(
  unlinked: ReadonlyMap<NodeName, Unlinked>,
  { input: { self, now }, due }: { input: { self: NodeName; now: number }; due: (at: number) => void },
): Pick<Plan, 'connect' | 'hold'> & { peers: Map<NodeName, PeerState> } {
  const connect: Plan['connect'] = []
  const hold: Plan['hold'] = []
  const peers = new Map<NodeName, PeerState>()
  const underWay = new Map<string, number>()
  const ready: { node: NodeName; order: number; dial: Unlinked }[] = []
  for (const [node, dial] of unlinked) {
    const { topology, policy, peer, wanted } = dial
    peers.set(node, peer)
    if (!wanted) continue
    if (peer.dialledAt !== undefined) {
      const until = peer.dialledAt + policy.dialTimeout
      underWay.set(topology, (underWay.get(topology) ?? 0) + 1)
      hold.push({ node, reason: 'dialling', until })
      due(until)
    } else if (peer.retryAt !== undefined && peer.retryAt > now) {
      hold.push({ node, reason: 'backoff', until: peer.retryAt })
      due(peer.retryAt)
    } else {
      ready.push({ node, order: hash32(`${self} ${node}`), dial })
    }
  }
  ready.sort((a, b) => a.order - b.order)
  for (const { node, dial } of ready) {
    const { topology, policy, peer, address } = dial
    const dialling = underWay.get(topology) ?? 0
    if (dialling >= policy.dialsPerRound) {
      hold.push({ node, reason: 'round_full' })
      continue
    }
    underWay.set(topology, dialling + 1)
    const attempt = peer.attempt + 1
    const { retryAt: _over, ...rest } = peer
    peers.set(node, { ...rest, attempt, dialledAt: now })
    const reason = attempt > 1 ? 'retry' : peer.lost ? 'lost' : 'new'
    connect.push({ node, ...(address && { address }), attempt, reason })
    due(now + policy.dialTimeout)
  }
  return { connect, hold, peers }
}

/**
 * Settles every known node without link: lost, still dialling, failed; forgets those that are gone for good on evidence, and
 * enters the rest as wanted. Returns how many known nodes have a link.
 */
export function sortOutUnlinked(
  topology: string,
  view: View,
  unlinked: Map<NodeName, Unlinked>,
  before: State,
  { input, linked, fresh, renewed, outcomes, events, due }: Draft,
): number {
  const { self, now } = input
  const { policy, standings, state } = view
  const settling = { self, now, policy }
  const without = view.known.filter((node) => !linked.has(node))
  const peerOf = (node: NodeName) => (renewed.has(node) ? undefined : before.peers[node])
  const isLoss = (node: NodeName) => {
    if (!isLost(peerOf(node)) || fresh.has(node) || renewed.has(node)) return false
    return standings.get(node)?.kind !== 'leaving'
  }
  const losses = without.reduce((count, node) => (isLoss(node) ? count + 1 : count), 0)
  const blameless = losses > Math.max(1, Math.floor(policy.budget * view.members))
  const gone = new Set<NodeName>()
  for (const node of without) {
    const { peer, failed } = isLoss(node)
      ? { peer: loseLink(node, peerOf(node), { ...settling, blameless }), failed: false }
      : settleDial(node, peerOf(node) ?? { attempt: 0 }, { ...settling, outcome: outcomes.get(node) })
    const leftMs = forgetClock(node, view) - state.clock
    const why = reasonToForget(standings.get(node), { view, failed, leftMs })
    if (why !== undefined) {
      gone.add(node)
      events.push({ type: 'member_forgotten', topology, node, message: why })
      continue
    }
    due(now + Math.min(leftMs, view.intervalMs))
    const wanted = standings.get(node)?.kind !== 'leaving'
    const earlier = unlinked.get(node)
    if (earlier !== undefined && (earlier.wanted || !wanted)) continue
    const address = addressOf(node, view)
    unlinked.set(node, { wanted, topology, policy, peer, ...(address && { address }) })
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

function addressOf(node: NodeName, view: View): Unlinked['address'] {
  for (const { details } of view.knowers(node)) {
    const address = details[node]?.address
    if (address !== undefined) return address
  }
  return undefined
}

/** What is remembered of the peers: all that are wanted without link, and of the linked ones a penalty that is left. */
export function peersAfter(
  before: State,
  unlinked: [NodeName, PeerState][],
  { input, linked, renewed }: Draft,
): State['peers'] {
  const [first] = Object.values(input.topologies)
  const kept = Object.entries(before.peers).flatMap(([node, peer]): [NodeName, PeerState][] => {
    if (first === undefined || !linked.has(node) || renewed.has(node)) return []
    const left = linkedPeer(peer, input.now, first.policy)
    return left === undefined ? [] : [[node, left]]
  })
  return dictionary([...kept, ...unlinked])
}
