import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import { randomScenario } from './faults.ts'
import { invariants } from './invariants/all.ts'
import { believedCuts } from './invariants/believed-cuts.ts'
import { libcluster } from './policies/libcluster.ts'
import { run } from './run.ts'
import { shrink } from './shrink.ts'

const SMALL = { nodes: 5, hours: 1 }

describe('the simulator', () => {
  test('gives the same history for a seed, twice and in another process', async () => {
    const scenario = randomScenario(7, SMALL)
    const [first, again] = [await run(scenario, { seed: 7 }), await run(scenario, { seed: 7 })]
    assert.equal(again.hash, first.hash)
    const args = ['test/sim/sim.ts', '--seed', '7', '--nodes', '5', '--hours', '1']
    const { stdout } = await promisify(execFile)(process.execPath, args)
    assert.match(stdout, new RegExp(`hash ${first.hash} `))
    const other = await run(randomScenario(8, SMALL), { seed: 8 })
    assert.notEqual(other.hash, first.hash)
  })

  for (const driver of ['agent', 'plan'] as const) {
    test(`finds no violation in a few seeds, with the ${driver === 'agent' ? 'real loop' : 'decision alone'}`, async () => {
      for (let seed = 1; seed <= 2; seed++) {
        const { violations } = await run(randomScenario(seed, SMALL), { seed, driver, invariants })
        assert.deepEqual(violations, [], `seed ${seed}`)
      }
    })
  }

  test('catches an agent that believes one answer, and shrinks its history to the one step that shows it', async () => {
    const options = { seed: 1, contender: libcluster, driver: 'plan' as const, invariants: [believedCuts] }
    const scenario = randomScenario(1, { nodes: 8, hours: 2 })
    const { violations } = await run(scenario, options)
    const [violation] = violations
    assert.ok(violation !== undefined)
    const shortest = await shrink(
      { scenario, violation },
      { maxRuns: 100, attempt: async (shorter) => (await run(shorter, options)).violations[0] },
    )
    assert.equal(shortest.scenario.steps.length, 1)
    assert.ok((shortest.violation.plan?.disconnect.length ?? 0) > 0)
  })
})
