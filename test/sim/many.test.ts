import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { describe, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { promisify } from 'node:util'
import { seedOf } from './flags.ts'
import { runSeed } from './seed-run.ts'
import { replayOf, sizeOf } from './size.ts'

// A part of what npm run sim:many does, on one core of a machine that others use too: some hundred seeds. Not more, for what is found
// turns somebody red who has changed something else.
const BUDGET_MS = 45_000
// What the slowest machine manages; with less it would be green and have seen nothing.
const LEAST_SEEDS = 20

describe('many seeds', () => {
  test('no violation in fresh seeds, of any size', async (t) => {
    const given = process.env.SIM_SEED
    const first = given === undefined ? randomInt(1_000_000_000) : seedOf('SIM_SEED', given)
    const begun = performance.now()
    let [seed, nodeHours] = [first, 0]
    t.diagnostic(`seeds from ${first} on (again: SIM_SEED=${first})`)
    for (; performance.now() - begun < BUDGET_MS; seed++) {
      // Runs wait by ticks only: without a turn nothing else in this process would go on.
      await turn()
      const { size, violations } = await runSeed(seed, { explains: false })
      if (violations.length > 0) {
        // First, for what follows takes minutes.
        t.diagnostic(`${replayOf(seed, size)}: ${violations.join('; ')}`)
        const { explanations } = await runSeed(seed, { explains: true })
        assert.fail(`${replayOf(seed, size)}\n${explanations.join('\n')}`)
      }
      nodeHours += size.nodes * size.hours
    }
    t.diagnostic(`seeds ${first} to ${seed - 1}: ${Math.round(nodeHours)} node-hours`)
    assert.ok(seed - first >= LEAST_SEEDS, `${seed - first} seeds in ${BUDGET_MS} ms`)
  })

  test('give the same hash whatever the cores, and a seed alone gives what it gave among them', async () => {
    const many = (cores: string) => output('many.ts', '--seeds', '4', '--from', '41', '--cores', cores)
    const [one, two] = await Promise.all([many('1'), many('2')])
    const hashes = [one, two].map(({ stdout }) => /^hash ([0-9a-f]{16}) /m.exec(stdout)?.[1])
    assert.ok(hashes[0] !== undefined)
    assert.equal(hashes[1], hashes[0])
    assert.match(one.stdout, /^all of the 4 seeds 41 to 44$/m)
    assert.match(one.stdout, /^violations: 0$/m)
    const { hash } = await runSeed(41, { explains: false })
    const [, flags = ''] = replayOf(41, sizeOf(41)).split(' -- ')
    const alone = await output('sim.ts', ...flags.split(' '))
    assert.match(alone.stdout, new RegExp(`hash ${hash} `))
  })

  for (const [program, flag, value, expected] of [
    ['sim.ts', 'interval', '30x', 'a duration above 0, like 5s or 30000 (ms)'],
    ['sim.ts', 'hours', '0', 'hours above 0, like 24 or 0.5'],
    ['sim.ts', 'nodes', '1', 'a whole number from 2 to 999'],
    ['sim.ts', 'driver', 'none', 'agent or plan'],
    ['many.ts', 'seeds', '1e4', 'a whole number from 1 to 10000000'],
  ] as const) {
    test(`${program} refuses --${flag} ${value} in one sentence`, async () => {
      const { code, stderr } = await output(program, `--${flag}`, value)
      assert.equal(code, 2)
      assert.equal(stderr.split('\n')[0], `expected --${flag} to be ${expected}, got ${value}`)
    })
  }

  test('an interval may be said as a duration', async () => {
    const size = ['--nodes', '3', '--hours', '0.1', '--interval']
    const [worded, plain] = await Promise.all([output('sim.ts', ...size, '30s'), output('sim.ts', ...size, '30000')])
    const told = ({ stdout }: { stdout: string }) => /^seed 1 .* hash [0-9a-f]{16}/m.exec(stdout)?.[0]
    assert.ok(told(worded) !== undefined)
    assert.equal(told(worded), told(plain))
  })
})

async function output(program: string, ...flags: readonly string[]) {
  const file = `${import.meta.dirname}/${program}`
  try {
    return { code: 0, ...(await promisify(execFile)(process.execPath, [file, ...flags])) }
  } catch (error) {
    return error as { code: number; stdout: string; stderr: string }
  }
}
