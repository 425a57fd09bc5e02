import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { describe, test } from 'node:test'
import { oldFindings } from './findings.ts'
import { runTarget } from './run.ts'
import { bytesOf } from './target.ts'
import { targets } from './targets.ts'

// One that has found nothing yet, for a test says the same each time; where there is time, others are tried.
const SEED = 20_261_121
const seconds = Number(process.env.FUZZ_SECONDS ?? 0)

describe('fuzzing', { concurrency: 2 }, () => {
  for (const [name, load] of Object.entries(targets)) {
    test(`${name} keeps its promises with what mutation makes of valid inputs`, async (t) => {
      const { inputs, close } = await load()
      await close?.()
      const order = seconds > 0 ? { seed: randomInt(2 ** 32), seconds } : { seed: SEED, inputs }
      const report = await runTarget(name, order)
      if ('error' in report) {
        const input = Buffer.from(report.input).toString('base64')
        assert.fail(`${report.error}\nnpm run fuzz -- ${name} --seed ${order.seed} finds it again: ${input}`)
      }
      t.diagnostic(`${report.inputs} inputs in ${report.seconds.toFixed(1)} s, seed ${order.seed}`)
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
