import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { createAgent } from '../../agent/agent.ts'
import type { Source } from '../../functions/resolvers/source.ts'
import { configOf, createFakeLog, createFakeMesh, type FakeMesh, listing } from './fakes.ts'
import { createManualClock } from './manual-clock.ts'

const SELF = 'a@10.0.0.1'
const [B, C] = ['b@10.0.0.2', 'c@10.0.0.3'] as const

/** An agent of the real plan on a clock, a mesh and sources of the test. */
function setUp(
  t: TestContext,
  sources: Record<string, Source<unknown>>,
  { mesh = createFakeMesh(SELF), ...options }: Parameters<typeof configOf>[1] & { mesh?: FakeMesh } = {},
) {
  const clock = createManualClock()
  const log = createFakeLog()
  const { config, loadSource } = configOf(sources, options)
  const agent = createAgent(config, { log, clock, distribution: mesh, loadSource })
  const seen: string[] = []
  agent.on('*', ({ type, node }) => void seen.push(node === undefined ? type : `${type} ${node}`))
  t.after(() => agent.stop())
  return { agent, clock, log, mesh, seen }
}

test('a listed node is dialled, and told as nodeup', async (t) => {
  const { agent, clock, mesh, seen } = setUp(t, { s: listing(() => [SELF, B]) })
  await agent.start()
  await clock.advance(100)
  assert.deepEqual([...mesh.links], [B])
  assert.deepEqual(seen, [`member_listed ${B}`, `member_listed ${SELF}`, `nodeup ${B}`].toSorted())
})
