import type { NodeName } from '../../core/node.ts'
import type { NetworkFault } from './network.ts'
import type { SourceFault } from './source.ts'

/** One thing that happens to the world, at an instant in ms since the run began; those with `forMs` end by themselves. */
export type Step = {
  readonly at: number
} /** A node starts: a new life, under a name that is new or was another's. */ & (
  | { do: 'start'; node: NodeName }
  /** It ends as it should: the platform says that it is leaving, and its process ends after `drainMs`. */
  | { do: 'stop'; node: NodeName; drainMs: number }
  /** Its process dies; the platform unlists it only after `unlistMs` (Infinity: never). */
  | { do: 'crash'; node: NodeName; unlistMs: number }
  /** Its host vanishes: nothing answers, not even with a refusal. */
  | { do: 'powerOff'; node: NodeName; unlistMs: number }
  /** It does nothing for a while: a long GC, a SIGSTOP, a sleeping laptop. */
  | { do: 'pause'; node: NodeName; forMs: number }
  /** Its wall clock jumps, either way. */
  | { do: 'jump'; node: NodeName; byMs: number }
  | { do: 'network'; fault: NetworkFault; forMs: number }
  | { do: 'source'; source: string; fault: SourceFault; forMs: number; seenBy?: readonly NodeName[] }
  /** Somebody takes nodes out of the list on purpose; they go on running. */
  | { do: 'delist'; nodes: readonly NodeName[] }
  | { do: 'relist'; nodes: readonly NodeName[] }
  /** The agent beside a node is started anew, with its state or without. */
  | { do: 'restartAgent'; node: NodeName; keepState: boolean }
  /** Somebody calls `erlang:disconnect_node/1` by hand. */
  | { do: 'disconnectNode'; from: NodeName; to: NodeName }
)

/** `app@10.0.0.1` and so on, `count` of them. */
export function nodes(count: number, from = 1): NodeName[] {
  return Array.from({ length: count }, (_, index) => {
    const number = from + index
    return `app@10.0.${Math.floor(number / 250)}.${number % 250}`
  })
}

export const SECOND = 1_000
export const MINUTE = 60_000
export const HOUR = 3_600_000
