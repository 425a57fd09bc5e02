import type { NodeName } from '../../core/node.ts'
import { sample } from '../core/rounds.ts'
import { between, chance, pick } from './chance.ts'
import type { NetworkFault } from './network.ts'
import type { Scenario } from './scenario.ts'
import type { SourceFault } from './source.ts'
import { HOUR, MINUTE, nodes, SECOND, type Step } from './step.ts'

// Faults come in bursts of up to half an hour, each followed by a calm in which the mesh must come right.
const PERIOD_MS = 60 * MINUTE
const BURST_MS = 28 * MINUTE
const MAX_FAULT_MS = 12 * MINUTE
const MAX_STEPS = 12

export interface RandomOptions {
  nodes: number
  hours: number
  intervalMs?: number
}

/** A history drawn from a seed: any fault may meet any other. */
export function randomScenario(
  seed: number,
  { nodes: count, hours, intervalMs = 5 * SECOND }: RandomOptions,
): Scenario {
  const next = chance(seed, 'history')
  const all = nodes(count)
  const isOne = next() < 0.6
  const sources = {
    dns: { lagMs: pick([0, 1 * SECOND, 10 * SECOND], next), givesIds: next() < 0.3, saysLeaving: next() < 0.4 },
    ...(!isOne && { registry: { givesIds: true, saysLeaving: true } }),
  }
  const steps: Step[] = []
  const drawing: Drawing = { next, all, sources: Object.keys(sources), spare: nodes(count, 1_000) }
  for (let begin = 2 * MINUTE; begin < hours * HOUR; begin += PERIOD_MS) {
    const wanted = Math.floor(between(1, MAX_STEPS, next))
    for (let step = 0; step < wanted; step++)
      steps.push(...draw(begin + Math.floor(between(0, BURST_MS, next)), drawing))
  }
  return {
    name: `seed ${seed}`,
    about: `${count} nodes, ${hours} hours, faults drawn from seed ${seed}`,
    nodes: all,
    steps: steps.filter(({ at }) => at < hours * HOUR).sort((a, b) => a.at - b.at),
    durationMs: hours * HOUR,
    sources,
    intervalMs,
    ...(next() < 0.25 && { mesh: 'members' as const }),
  }
}

interface Drawing {
  readonly next: () => number
  readonly all: readonly NodeName[]
  readonly sources: readonly string[]
  /** Names that nobody has yet. */
  readonly spare: NodeName[]
}

/** One thing that happens, with what undoes it later where it does not end by itself. */
function draw(at: number, { next, all, sources, spare }: Drawing): Step[] {
  const node = pick(all, next)
  const ms = Math.floor(between(1 * SECOND, MAX_FAULT_MS, next))
  const later = at + Math.floor(between(5 * SECOND, MAX_FAULT_MS, next))
  const some = (share: number) => sample(all, Math.max(1, Math.floor(share * all.length)), next)
  const kinds: (() => Step[])[] = [
    () => [{ at, do: 'network', fault: drawNetwork(all, next), forMs: ms }],
    () => [
      {
        at,
        do: 'source',
        source: pick(sources, next),
        fault: drawSource(all, next),
        forMs: ms,
        ...(next() < 0.3 && { seenBy: some(0.3) }),
      },
    ],
    () => [
      { at, do: 'crash', node, unlistMs: ms },
      { at: later, do: 'start', node },
    ],
    () => [
      { at, do: 'powerOff', node, unlistMs: ms },
      { at: later, do: 'start', node },
    ],
    () => [
      { at, do: 'stop', node, drainMs: Math.floor(between(1 * SECOND, 90 * SECOND, next)) },
      { at: later, do: 'start', node },
    ],
    () => [{ at, do: 'pause', node, forMs: ms }],
    () => [{ at, do: 'jump', node, byMs: Math.floor(between(-2 * HOUR, 2 * HOUR, next)) }],
    () => {
      const out = some(between(0, 0.6, next))
      return [
        { at, do: 'delist', nodes: out },
        { at: later, do: 'relist', nodes: out },
      ]
    },
    () => [{ at, do: 'restartAgent', node, keepState: next() < 0.5 }],
    () => [{ at, do: 'disconnectNode', from: node, to: pick(all, next) }],
    () => twice(at, all, sources, next),
    () => move(at, node, spare),
    () => rollingDeploy(at, all, next),
  ]
  return pick(kinds, next)()
}

/** A source leaves some out, and before that is over something else is wrong with it too. */
function twice(at: number, all: readonly NodeName[], sources: readonly string[], next: () => number): Step[] {
  const source = pick(sources, next)
  const omitting: SourceFault = { kind: 'omitting', nodes: sample(all, 1 + Math.floor(next() * 3), next) }
  const later = at + Math.floor(between(10 * SECOND, 90 * SECOND, next))
  return [
    { at, do: 'source', source, fault: omitting, forMs: MAX_FAULT_MS },
    { at: later, do: 'source', source, fault: drawSource(all, next), forMs: MAX_FAULT_MS },
  ]
}

/** It comes back under another name; its own is free for another, which takes it later. */
function move(at: number, node: NodeName, spare: NodeName[]): Step[] {
  const other = spare.shift()
  if (other === undefined) return []
  return [
    { at, do: 'crash', node, unlistMs: 30 * SECOND },
    { at: at + 3 * SECOND, do: 'start', node: other },
    { at: at + 6 * MINUTE, do: 'stop', node: other, drainMs: 10 * SECOND },
    { at: at + 6 * MINUTE, do: 'start', node },
  ]
}

function rollingDeploy(at: number, all: readonly NodeName[], next: () => number): Step[] {
  const apartMs = Math.floor(between(2 * SECOND, 20 * SECOND, next))
  return all.flatMap((node, index): Step[] => [
    { at: at + index * apartMs, do: 'stop', node, drainMs: 5 * SECOND },
    { at: at + index * apartMs + 8 * SECOND, do: 'start', node },
  ])
}

function drawNetwork(all: readonly NodeName[], next: () => number): NetworkFault {
  const left = sample(all, 1 + Math.floor(next() * (all.length - 1)), next)
  const right = all.filter((node) => !left.includes(node))
  const kinds: NetworkFault[] = [
    { kind: 'partition', left, right },
    { kind: 'oneWay', from: left, to: right },
    { kind: 'flapping', left, right, periodMs: Math.floor(between(2 * SECOND, 4 * MINUTE, next)) },
    { kind: 'loss', share: between(0.05, 0.8, next) },
    { kind: 'slow', extraMs: between(50, 900, next) },
  ]
  return pick(kinds, next)
}

function drawSource(all: readonly NodeName[], next: () => number): SourceFault {
  const some = sample(all, 1 + Math.floor(next() * all.length), next)
  // One of many leaves out more, and for longer, than any other share.
  const count = next() < 0.3 ? 1 : Math.floor(next() * all.length)
  const kinds: SourceFault[] = [
    { kind: 'error' },
    { kind: 'throttled', retryAfterMs: Math.floor(between(1 * SECOND, 2 * MINUTE, next)) },
    { kind: 'hang' },
    { kind: 'slow', extraMs: between(100, 20_000, next) },
    { kind: 'empty' },
    { kind: 'partial', count },
    { kind: 'sampled', count },
    { kind: 'frozen' },
    { kind: 'stale' },
    { kind: 'flipFlop', nodes: some },
    { kind: 'omitting', nodes: some },
    { kind: 'adding', nodes: ['ghost@10.9.9.1', 'ghost@10.9.9.2', 'no name'] },
  ]
  return pick(kinds, next)
}
