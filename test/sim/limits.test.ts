import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { run } from './run.ts'
import type { Scenario } from './scenario.ts'
import { deadSource, meshOfTwo, stateLost, twoFlap } from './scenarios/limits.ts'
import { MINUTE, nodes } from './step.ts'
import type { World } from './world.ts'

const SEED = 1
const [N1, N2, , N4] = nodes(4) as [string, string, string, string]

/** Runs it, and notes for each minute whether a link stands. */
async function watched(scenario: Scenario, from: string, to: string) {
  const linkedMinutes: number[] = []
  const { world } = await run(scenario, {
    seed: SEED,
    watch: (world: World) => ({
      minute() {
        if (world.beam.links(from).has(to)) linkedMinutes.push(world.time.now() / MINUTE)
      },
    }),
  })
  return { world, linkedMinutes }
}

describe('what the design says that it does not do', () => {
  test(twoFlap.about, async () => {
    const { world, linkedMinutes } = await watched(twoFlap, N1, N4)
    // They flap until the 16th minute; doubt lasts confirm after that, and then the grace begins.
    assert.deepEqual([linkedMinutes.includes(15), linkedMinutes.includes(25)], [true, false])
    assert.ok(world.history.tail(Infinity).some((line) => line.includes('source_doubted')))
  })

  test(stateLost.about, async () => {
    const { linkedMinutes } = await watched(stateLost, N1, N4)
    assert.ok(linkedMinutes.includes(29), 'nobody remembers that it was ever listed: its link is not ours')
  })

  test(meshOfTwo.about, async () => {
    const { world, linkedMinutes } = await watched(meshOfTwo, N1, N2)
    assert.ok(linkedMinutes.includes(29))
    assert.equal(world.agents.get(N1)?.plan?.topologies.web?.sources.dns?.doubted, true)
  })

  test(deadSource.about, async () => {
    const { world, linkedMinutes } = await watched(deadSource, N1, N4)
    assert.ok(linkedMinutes.includes(29))
    const told = world.history.tail(Infinity).filter((line) => line.includes('source_blocks_removal'))
    assert.equal(told.length, 10, 'each agent says so once, that of the node itself too')
  })
})
