import type { NodeName } from '../../core/node.ts'
import type { Beam } from './beam.ts'
import type { History } from './history.ts'
import { type Machine, on } from './machine.ts'
import type { Network, NetworkFault } from './network.ts'
import type { Platform } from './platform.ts'
import type { SimulatedSource } from './source.ts'
import type { Step } from './step.ts'
import type { Time } from './time.ts'

/** Makes the steps of a scenario happen. */
export interface Fate {
  readonly take: (step: Step) => void
  /** Since when nothing happened to the world and nothing is wrong with it; Infinity while something is. */
  readonly calmSince: () => number
  /** Since when nothing is wrong with the network; Infinity while something is. */
  readonly networkWellSince: () => number
}

/** What it may lay hands on. */
export interface FateOptions {
  readonly time: Time
  readonly history: History
  readonly machines: ReadonlyMap<NodeName, Machine>
  readonly agents: ReadonlyMap<NodeName, unknown>
  readonly platform: Platform
  readonly network: Network
  readonly sources: ReadonlyMap<string, SimulatedSource>
  readonly beam: Beam
  /** A node begins a new life under this name. */
  readonly start: (node: NodeName) => void
  readonly startAgent: (machine: Machine, keepState: boolean) => void
  readonly end: (node: NodeName, power: 'down' | 'off') => void
  /** The last fault of the network has ended. */
  readonly healed: () => void
}

/** Makes the fate of a world. */
export function createFate(options: FateOptions): Fate {
  const { time, history, machines, agents, platform, network, sources, beam, start, startAgent, end, healed } = options
  const { now } = time
  let wrong = 0
  let changedAt = 0
  let wellAt = 0

  /** Something is wrong for a while, or for ever. */
  function endure(ms: number, finish: () => void): void {
    wrong++
    time.after(ms, () => {
      wrong--
      changedAt = now()
      finish()
    })
  }

  function take(step: Step): void {
    history.note(`step ${JSON.stringify(step)}`)
    changedAt = now()
    if (step.do === 'start') start(step.node)
    if (step.do === 'stop') stop(step.node, step.drainMs)
    if (step.do === 'crash') fall(step.node, 'down', step.unlistMs)
    if (step.do === 'powerOff') fall(step.node, 'off', step.unlistMs)
    if (step.do === 'pause') pause(step.node, step.forMs)
    if (step.do === 'jump') jump(step.node, step.byMs)
    if (step.do === 'network') disturb(step.fault, step.forMs)
    if (step.do === 'source') {
      endure(step.forMs, sources.get(step.source)?.begin(step.fault, step.seenBy) ?? (() => {}))
    }
    if (step.do === 'delist') for (const node of step.nodes) platform.unlist(node)
    if (step.do === 'relist') for (const node of step.nodes) relist(node)
    if (step.do === 'restartAgent') restartAgent(step.node, step.keepState)
    if (step.do === 'disconnectNode') beam.disconnectNode(step.from, step.to, 'by hand')
  }

  function disturb(fault: NetworkFault, forMs: number): void {
    const lift = network.begin(fault)
    endure(forMs, () => {
      lift()
      if (!network.isWell()) return
      wellAt = now()
      healed()
    })
  }

  function stop(node: NodeName, drainMs: number): void {
    const machine = machines.get(node)
    if (machine?.power !== 'up') return
    platform.markLeaving(node)
    endure(drainMs, () => {
      if (machines.get(node) !== machine) return
      platform.unlist(node)
      end(node, 'down')
    })
  }

  function fall(node: NodeName, power: 'down' | 'off', unlistMs: number): void {
    const machine = machines.get(node)
    if (machine?.power !== 'up') return
    end(node, power)
    if (unlistMs === Infinity) return
    endure(unlistMs, () => {
      if (machines.get(node) === machine) platform.unlist(node)
    })
  }

  function pause(node: NodeName, forMs: number): void {
    const machine = machines.get(node)
    if (machine?.power !== 'up' || machine.paused) return
    machine.paused = true
    beam.recheck()
    endure(forMs, () => {
      machine.paused = false
      machine.resumedAt = now()
      beam.recheck()
      for (const run of machine.backlog.splice(0)) on(machine, run)
    })
  }

  function jump(node: NodeName, byMs: number): void {
    const machine = machines.get(node)
    if (machine !== undefined) machine.clockOffsetMs += byMs
  }

  function relist(node: NodeName): void {
    const machine = machines.get(node)
    if (machine?.power === 'up') platform.list(node, machine.id)
  }

  function restartAgent(node: NodeName, keepState: boolean): void {
    const machine = machines.get(node)
    if (machine?.power === 'up' && !machine.paused && agents.has(node)) startAgent(machine, keepState)
  }

  return {
    take,
    calmSince: () => (wrong > 0 ? Infinity : changedAt),
    networkWellSince: () => (network.isWell() ? wellAt : Infinity),
  }
}
