import type { Member, Observation } from './member.ts'
import type { NodeName } from './node.ts'
import type { Policy } from './policy.ts'

export type State = { version: 1; self: NodeName; at: number; topologies: object; peers: object }

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

export type { Member }

/** A state that knows nothing. */
export function emptyState(self: NodeName, now: number): State {
  return { version: 1, self, at: now, topologies: {}, peers: {} }
}

/** Computes whom to connect to and whom to disconnect from. Pure: same input, same output. */
export function plan(state: State | undefined, input: PlanInput): Plan {
  void state
  void input
  throw new Error('being written')
}
