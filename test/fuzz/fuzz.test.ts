import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { oldFindings } from './findings.ts'
import { runTarget } from './run.ts'
import { bytesOf } from './target.ts'
import { targets } from './targets.ts'

// One that has found nothing yet; `npm run fuzz` takes another each time.
const SEED = 20_261_121

describe('fuzzing', () => {
  for (const [name, load] of Object.entries(targets)) {
    test(`${name} keeps its promises with what mutation makes of valid inputs`, async () => {
      const { inputs, close } = await load()
      await close?.()
      const report = await runTarget(name, { seed: SEED, inputs })
      assert.ok(
        !('error' in report),
        'error' in report ? `${report.error} ${Buffer.from(report.input).toString('base64')}` : '',
      )
    })
  }

  for (const { target, what, input } of oldFindings) {
    test(`${target}: ${what}; not any more`, async (t) => {
      const { run, close } = (await targets[target]?.()) ?? assert.fail()
      t.after(() => close?.())
      await run(bytesOf(input))
    })
  }
})
