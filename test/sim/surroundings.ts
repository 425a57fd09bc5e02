import type { Observation } from '../../core/member.ts'
import type { NodeName } from '../../core/node.ts'
import type { plan } from '../../core/plan.ts'
import type { Policy } from '../../core/policy.ts'
import type { DialEnd } from './beam.ts'

/** Whom to connect to and whom to cut: rollcall's `plan`, or what a peer does in its place. */
export type Decide = typeof plan

/** All that the agent of one simulated node has of the world. */
export interface Surroundings {
  readonly self: NodeName
  readonly sources: readonly string[]
  readonly intervalMs: number
  readonly policy: Policy
  /** The wall clock of its machine, which may jump. */
  readonly now: () => number
  /** Ms on a line that never jumps: what waits are counted on. */
  readonly elapsed: () => number
  readonly random: () => number
  /** Does `run` on its machine after `ms`; gives the undo. */
  readonly after: (ms: number, run: () => void) => () => void
  /** Asks a source; `ended` gets the observation, or what was thrown. Never called where the source hangs. */
  ask(source: string, ended: (answer: () => Observation) => void): void
  links(): NodeName[]
  /** Told after each change of the node's links; gives the undo. */
  readonly onLinks: (listener: (node: NodeName, up: boolean) => void) => () => void
  dial(node: NodeName, ended: DialEnd): void
  /** Ends the link to a node, in the way of the policy that is simulated. */
  cut(node: NodeName, reason: 'leaving' | 'absent', ended: DialEnd): void
  /** Takes the own node out of the mesh. */
  leave(): void
  readonly decide: Decide
}
