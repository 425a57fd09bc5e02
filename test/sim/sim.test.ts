import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import { plan } from '../../core/plan.ts'
import { randomScenario } from './faults.ts'
import { invariants } from './invariants/all.ts'
import { rollcall, run } from './run.ts'
import { shrink } from './shrink.ts'
import type { Contender } from './world.ts'

const SMALL = { nodes: 8, hours: 2 }

describe('the simulator', () => {
  test('gives the same history for a seed, twice and in another process', async () => {
    const scenario = randomScenario(7, SMALL)
    const [first, again] = [await run(scenario, { seed: 7 }), await run(scenario, { seed: 7 })]
    assert.equal(again.hash, first.hash)
    const args = ['test/sim/sim.ts', '--seed', '7', '--nodes', '8', '--hours', '2']
    const { stdout } = await promisify(execFile)(process.execPath, args)
    assert.match(stdout, new RegExp(`hash ${first.hash} `))
    const other = await run(randomScenario(8, SMALL), { seed: 8 })
    assert.notEqual(other.hash, first.hash)
  })

  for (const driver of ['agent', 'plan'] as const) {
    test(`finds no violation in a few seeds, with the ${driver === 'agent' ? 'real loop' : 'decision alone'}`, async () => {
      for (let seed = 1; seed <= 3; seed++) {
        const { violations } = await run(randomScenario(seed, SMALL), { seed, driver, invariants })
        assert.deepEqual(violations, [], `seed ${seed}`)
      }
    })
  }

  test('catches an agent that believes one answer, and shrinks its history to the one step that shows it', async () => {
    const hasty: Contender = {
      ...rollcall,
      decide: () => (state, input) => {
        const { web } = input.topologies
        if (web === undefined) throw new TypeError('expected the topology web')
        return plan(state, {
          ...input,
          topologies: { web: { ...web, policy: { ...web.policy, grace: 0, misses: 1 } } },
        })
      },
    }
    const options = { seed: 3, contender: hasty, driver: 'plan' as const, invariants: invariants.slice(0, 1) }
    const scenario = randomScenario(3, SMALL)
    const { violations } = await run(scenario, options)
    const [violation] = violations
    assert.ok(violation !== undefined)
    const shortest = await shrink(
      { scenario, violation },
      { maxRuns: 200, attempt: async (shorter) => (await run(shorter, options)).violations[0] },
    )
    assert.equal(shortest.scenario.steps.length, 1)
    assert.ok(shortest.violation.plan?.events.some(({ type }) => type === 'member_absent'))
  })
})
