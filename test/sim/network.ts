import type { NodeName } from '../../core/node.ts'

/** What is wrong with the network while it lasts. */
export type NetworkFault =
  /** Nothing passes between the two sides, in either direction. */
  | { kind: 'partition'; left: readonly NodeName[]; right: readonly NodeName[] }
  /** Nothing passes from these to those; the other direction works. */
  | { kind: 'oneWay'; from: readonly NodeName[]; to: readonly NodeName[] }
  /** As a partition, but it comes and goes: broken for the first half of each period. */
  | { kind: 'flapping'; left: readonly NodeName[]; right: readonly NodeName[]; periodMs: number }
  /** This share of all packets is lost, 0 to 1. */
  | { kind: 'loss'; share: number }
  /** Every packet takes this much longer. */
  | { kind: 'slow'; extraMs: number }

/** The network between the machines. */
export interface Network {
  /** Whether packets pass in both directions: what TCP needs. */
  talks(a: NodeName, b: NodeName): boolean
  /** One way, in ms. */
  latencyMs(): number
  /** The share of packets lost, 0 to 1. */
  loss(): number
  /** Begins a fault; gives its end. */
  begin(fault: NetworkFault): () => void
  /** Whether nothing is wrong. */
  isWell(): boolean
}

const LATENCY_MS = 1

/** Makes a network that is well; `changed` is told whenever it may have become another. */
export function createNetwork(changed: () => void, after: (ms: number, run: () => void) => () => void): Network {
  const faults = new Set<NetworkFault>()
  const blocks = new Set<{ from: ReadonlySet<NodeName>; to: ReadonlySet<NodeName> }>()

  function block(from: readonly NodeName[], to: readonly NodeName[]): () => void {
    const blocked = { from: new Set(from), to: new Set(to) }
    blocks.add(blocked)
    return () => void blocks.delete(blocked)
  }

  function flap(left: readonly NodeName[], right: readonly NodeName[], periodMs: number): () => void {
    let unblock: (() => void) | undefined
    let cancel = () => {}
    function turn(): void {
      if (unblock === undefined) {
        unblock = block(left, right)
      } else {
        unblock()
        unblock = undefined
      }
      changed()
      cancel = after(periodMs / 2, turn)
    }
    turn()
    return () => {
      cancel()
      unblock?.()
    }
  }

  function lay(fault: NetworkFault): () => void {
    if (fault.kind === 'partition') return block(fault.left, fault.right)
    if (fault.kind === 'oneWay') return block(fault.from, fault.to)
    if (fault.kind === 'flapping') return flap(fault.left, fault.right, fault.periodMs)
    return () => {}
  }

  return {
    talks(a, b) {
      for (const { from, to } of blocks) {
        if ((from.has(a) && to.has(b)) || (from.has(b) && to.has(a))) return false
      }
      return true
    },

    latencyMs() {
      let ms = LATENCY_MS
      for (const fault of faults) if (fault.kind === 'slow') ms += fault.extraMs
      return ms
    },

    loss() {
      let kept = 1
      for (const fault of faults) if (fault.kind === 'loss') kept *= 1 - fault.share
      return 1 - kept
    },

    begin(fault) {
      faults.add(fault)
      const lift = lay(fault)
      changed()
      return () => {
        faults.delete(fault)
        lift()
        changed()
      }
    },

    isWell: () => faults.size === 0,
  }
}
