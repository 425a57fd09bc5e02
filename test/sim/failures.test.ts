import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { invariants } from './invariants/all.ts'
import { measured } from './measured.ts'
import { failures } from './scenarios/failures.ts'
import { libclusterFaults } from './scenarios/libcluster.ts'

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
