import { RollcallError } from '../../core/error.ts'
import type { Member, Observation } from '../../core/member.ts'
import type { NodeName } from '../../core/node.ts'
import { sample } from '../core/rounds.ts'
import { between } from './chance.ts'
import type { Platform } from './platform.ts'

/** What is wrong with a source while it lasts. */
export type SourceFault =
  | { kind: 'error' }
  /** It asks to be left alone. */
  | { kind: 'throttled'; retryAfterMs: number }
  /** It never answers. */
  | { kind: 'hang' }
  | { kind: 'slow'; extraMs: number }
  /** It answers with success, and nobody. */
  | { kind: 'empty' }
  /** The first so many of the list, and it says that there are more. */
  | { kind: 'partial'; count: number }
  /** So many at random in each answer, and it says that they are all. */
  | { kind: 'sampled'; count: number }
  /** What it said when the fault began, as if it were new. */
  | { kind: 'frozen' }
  /** What it said when the fault began, with its true age. */
  | { kind: 'stale' }
  /** Two servers that disagree: every other answer leaves these out. */
  | { kind: 'flipFlop'; nodes: readonly NodeName[] }
  /** Every answer leaves these out. */
  | { kind: 'omitting'; nodes: readonly NodeName[] }
  /** These stand in every answer, whatever they are. */
  | { kind: 'adding'; nodes: readonly string[] }

export interface SourceOptions {
  /** How far its answers lie behind the platform: a TTL, a watch's delay. */
  lagMs?: number
  /** Whether it can say that a node is about to leave; DNS cannot. */
  saysLeaving?: boolean
  /** Whether it tells one life of a node from the next; DNS does not. */
  givesIds?: boolean
}

/** A source as the agents ask it. */
export interface SimulatedSource {
  /** What an ask that begins now by this node will give, and after how long; Infinity: never. */
  ask(asker: NodeName, at: number): { ms: number; answer: () => Observation }
  /** Begins a fault, for these askers alone where given; gives its end. */
  begin(fault: SourceFault, seenBy?: readonly NodeName[]): () => void
  isWell(): boolean
}

const ANSWER_MS = [2, 40] as const

/** Makes a source that reads the platform. */
export function createSource(
  id: string,
  { lagMs = 0, saysLeaving = false, givesIds = false }: SourceOptions,
  { platform, random, now }: { platform: Platform; random: () => number; now: () => number },
): SimulatedSource {
  const faults = new Set<{ fault: SourceFault; seenBy: ReadonlySet<NodeName> | undefined; since: number }>()
  const plain = new Map<readonly Member[], Member[]>()
  let asks = 0

  /** The list as this source words it, the same array for the same list. */
  function worded(ageMs: number): Member[] {
    const members = platform.members(ageMs)
    const known = plain.get(members)
    if (known !== undefined) return known
    const words = members.flatMap(({ node, status, id: life }): Member[] => {
      if (status === 'leaving' && !saysLeaving) return []
      return [{ node, status, ...(givesIds && life !== undefined && { id: life }) }]
    })
    // A handful of lists are in use at a time; the older ones are worded anew if ever asked for.
    if (plain.size > 16) plain.clear()
    plain.set(members, words)
    return words
  }

  function ask(asker: NodeName, at: number): { ms: number; answer: () => Observation } {
    const turn = asks++
    let ms = between(...ANSWER_MS, random)
    let error: { code: string; retryAfterMs?: number } | undefined
    let members = worded(lagMs)
    let [reason, saidAt]: [string | undefined, number] = [undefined, at]
    for (const { fault, seenBy, since } of faults) {
      if (seenBy !== undefined && !seenBy.has(asker)) continue
      const ageMs = lagMs + now() - since
      if (fault.kind === 'error') error = { code: 'servfail' }
      if (fault.kind === 'throttled') error = { code: 'throttled', retryAfterMs: fault.retryAfterMs }
      if (fault.kind === 'hang') ms = Infinity
      if (fault.kind === 'slow') ms += fault.extraMs
      if (fault.kind === 'empty') members = []
      if (fault.kind === 'partial') reason = `the first ${fault.count}`
      if (fault.kind === 'partial') members = members.slice(0, fault.count)
      if (fault.kind === 'sampled') members = drawn(members, fault.count)
      if (fault.kind === 'frozen' || fault.kind === 'stale') members = worded(ageMs)
      if (fault.kind === 'stale') saidAt = at - ageMs
      if (fault.kind === 'omitting' || (fault.kind === 'flipFlop' && turn % 2 === 0)) {
        members = members.filter(({ node }) => !fault.nodes.includes(node))
      }
      if (fault.kind === 'adding')
        members = [...members, ...fault.nodes.map((node) => ({ node, status: 'up' as const }))]
    }
    return { ms, answer }

    function answer(): Observation {
      if (error !== undefined) {
        const { code, ...rest } = error
        throw new RollcallError(code, `[${id}] expected an answer, got ${code}`, rest)
      }
      if (reason !== undefined) return { source: id, at: saidAt, outcome: 'partial', members, reason }
      return { source: id, at: saidAt, outcome: 'complete', members }
    }
  }

  function drawn(members: readonly Member[], count: number): Member[] {
    const names = new Set(
      sample(
        members.map(({ node }) => node),
        count,
        random,
      ),
    )
    return members.filter(({ node }) => names.has(node))
  }

  return {
    ask,
    begin(fault, seenBy) {
      const entry = { fault, seenBy: seenBy && new Set(seenBy), since: now() }
      faults.add(entry)
      return () => void faults.delete(entry)
    },
    isWell: () => faults.size === 0,
  }
}
