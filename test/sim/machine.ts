import type { NodeName } from '../../core/node.ts'

/** One node of the simulated mesh, with the machine that it runs on. */
export interface Machine {
  readonly node: NodeName
  /** Of this life of it: another start under the same name has another. */
  readonly id: string
  readonly startedAt: number
  /** `down`: the process has ended and its host refuses; `off`: nothing answers. */
  power: 'up' | 'down' | 'off'
  /** It does nothing and answers nobody (a long GC, a SIGSTOP, a sleeping laptop); what came meanwhile it does afterwards. */
  paused: boolean
  /** When its last pause ended. */
  resumedAt: number
  /** How far its wall clock is from the true one, in ms. */
  clockOffsetMs: number
  /** What is to be done once it is not paused any more. */
  readonly backlog: (() => void)[]
}

/** Makes a machine that runs. */
export function createMachine(node: NodeName, id: string, startedAt: number): Machine {
  return { node, id, startedAt, power: 'up', paused: false, resumedAt: startedAt, clockOffsetMs: 0, backlog: [] }
}

/** Whether it runs and answers. */
export function answers(machine: Machine | undefined): boolean {
  return machine !== undefined && machine.power === 'up' && !machine.paused
}

/** Does `run` as something that happens on the machine: now, after its pause, or never when it has ended. */
export function on(machine: Machine, run: () => void): void {
  if (machine.power !== 'up') return
  if (machine.paused) machine.backlog.push(run)
  else run()
}
