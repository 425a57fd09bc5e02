import type { NodeName } from '../../core/node.ts'
import type { Policy } from '../../core/policy.ts'
import type { SourceOptions } from './source.ts'
import type { Step } from './step.ts'

/** A world and what happens to it. Everything else follows from a seed. */
export interface Scenario {
  readonly name: string
  /** What happens, in a sentence. */
  readonly about: string
  /** Who runs and is listed from the beginning on. */
  readonly nodes: readonly NodeName[]
  readonly steps: readonly Step[]
  readonly durationMs: number
  /** By id; one source `dns` by default. */
  readonly sources?: Record<string, SourceOptions>
  /** How often each agent asks each source; 5 s by default. */
  readonly intervalMs?: number
  readonly policy?: Partial<Policy>
  /** `members`: hidden nodes without `global`. */
  readonly mesh?: 'beam' | 'members'
  /** Nodes beside which no agent runs. */
  readonly agentless?: readonly NodeName[]
}
