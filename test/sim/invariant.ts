import type { Plan } from '../../core/plan.ts'
import type { Witness, World } from './world.ts'

/** What must hold in every run, with the sentence of the design that it stands for. */
export interface Invariant {
  readonly name: string
  readonly sentence: string
  readonly watch: (world: World, report: (found: Finding) => void) => Witness
}

export interface Finding {
  readonly message: string
  /** The plan that it was seen in, if it was a plan's doing. */
  readonly plan?: Plan
}

export interface Violation extends Finding {
  readonly invariant: string
  /** Ms since the run began. */
  readonly at: number
}
