import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { invariants } from './invariants/all.ts'
import { measured } from './measured.ts'
import { libcluster } from './policies/libcluster.ts'
import { never } from './policies/never.ts'
import { failures } from './scenarios/failures.ts'
import { libclusterFaults } from './scenarios/libcluster.ts'
import type { Contender } from './world.ts'

const SEED = 1

for (const [title, scenarios] of [
  ['how discovery fails', failures],
  ['what libcluster was measured to do', libclusterFaults],
] as const) {
  describe(`${title}, in a whole mesh of real agents`, () => {
    for (const scenario of scenarios) {
      test(`${scenario.name}: ${scenario.about}; no link is cut wrongly, and the mesh comes right`, async () => {
        const { metrics, violations } = await measured(scenario, { seed: SEED, invariants })
        assert.deepEqual(violations, [])
        assert.equal(metrics.wrongCuts, 0)
        assert.notEqual(metrics.convergeMs, Infinity, JSON.stringify(metrics))
        assert.equal(metrics.deadDialled, 0)
      })
    }
  })
}

describe('the same with the policies of the peers, as they were measured', () => {
  const byName = (name: string) => {
    const found = libclusterFaults.find((scenario) => scenario.name.startsWith(name))
    if (found === undefined) throw new TypeError(`no scenario ${name}`)
    return found
  }
  const cost = async (name: string, contender: Contender) => {
    return (await measured(byName(name), { seed: SEED, contender, driver: 'plan' })).metrics
  }

  test('libcluster loses all three links of a mesh by one answer that names nobody, and by a server that fails', async () => {
    assert.equal((await cost('L1', libcluster)).wrongCuts, 3)
    assert.equal((await cost('L3', libcluster)).wrongCuts, 3)
  })

  test('libcluster cuts the innocent link with that of a removed node, and keeps the removed node while it polls', async () => {
    assert.ok((await cost('L5', libcluster)).wrongCuts > 0)
    assert.equal((await cost('L4', libcluster)).convergeMs, Infinity)
  })

  test('who never cuts keeps a removed node for ever', async () => {
    assert.equal((await cost('L4', never)).convergeMs, Infinity)
  })
})
