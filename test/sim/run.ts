import { plan } from '../../core/plan.ts'
import { startAgent } from './agent-driver.ts'
import type { Invariant, Violation } from './invariant.ts'
import { startPlanning } from './plan-driver.ts'
import type { Scenario } from './scenario.ts'
import { takeTurns } from './turns.ts'
import { type Contender, createWorld, type Witness, type World } from './world.ts'

/** rollcall itself: the real decision, and a node's own agent takes it out. */
export const rollcall: Contender = { name: 'rollcall', decide: () => plan, cutting: 'own_agent' }

export interface RunOptions {
  seed: number
  contender?: Contender
  /** `agent`: the real loop. `plan`: the decision alone, driven as the loop drives it. */
  driver?: 'agent' | 'plan'
  invariants?: readonly Invariant[]
  /** Who else watches. */
  watch?: (world: World) => Witness
}

export interface Run {
  readonly world: World
  readonly hash: string
  readonly violations: readonly Violation[]
}

/** Runs a scenario from its beginning to its end. The same scenario, seed and options give the same hash, anywhere. */
export async function run(scenario: Scenario, options: RunOptions): Promise<Run> {
  const { seed, contender = rollcall, driver = 'agent', invariants = [], watch } = options
  const startDriver = driver === 'agent' ? startAgent : startPlanning
  const world = createWorld(scenario, { seed, contender, startDriver })
  const violations: Violation[] = []
  for (const { name, watch: watchOver } of invariants) {
    const witness = watchOver(world, (found) => {
      // One of each is enough to find its cause; a mesh that is wrong is wrong for many.
      if (violations.some(({ invariant }) => invariant === name)) return
      violations.push({ invariant: name, at: world.time.now(), ...found })
      world.history.note(`VIOLATION ${name} ${found.message}`)
    })
    world.witnesses.push(witness)
  }
  if (watch !== undefined) world.witnesses.push(watch(world))
  if (driver === 'plan') {
    await world.time.runUntil(scenario.durationMs)
  } else {
    const turns = takeTurns()
    try {
      await world.time.runUntil(scenario.durationMs, turns.settle)
    } finally {
      turns.restore()
    }
  }
  return { world, hash: world.history.hash(), violations }
}
