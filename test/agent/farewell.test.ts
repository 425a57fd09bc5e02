import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { createAgent } from '../../agent/agent.ts'
import type { Source } from '../../functions/resolvers/source.ts'
import { configOf, createFakeLog, createFakeMesh, listing } from './fakes.ts'
import { createManualClock } from './manual-clock.ts'

/** A source that can tell others that a node leaves, and does it by the given function. */
function telling(leave: NonNullable<Source<unknown>['leave']>): Source<unknown> {
  return { ...listing(() => ['a@10.0.0.1']), leave }
}

function agentOf(
  t: TestContext,
  { sources, agent = {} }: { sources: Record<string, Source<unknown>>; agent?: { leaveOnExit?: boolean } },
) {
  const clock = createManualClock()
  const log = createFakeLog()
  const mesh = createFakeMesh('a@10.0.0.1')
  const { config, loadSource } = configOf(sources, { agent })
  const made = createAgent(config, { distribution: mesh, loadSource, clock, log })
  t.after(() => made.stop())
  return { agent: made, mesh, clock, log }
}

test('a node that leaves lets its sources tell so before it gives up its links', async (t) => {
  const order: string[] = []
  const source = telling(async (_options, { self }) => void order.push(`told of ${self}`))
  const { agent, mesh, clock } = agentOf(t, { sources: { gossip: source, plain: listing(() => []) } })
  mesh.leave = async () => void order.push('left')
  const left = agent.leave()
  await clock.advance(0)
  await left
  assert.deepEqual(order, ['told of a@10.0.0.1', 'left'])
})

test('a source that cannot tell, or hangs, keeps nobody from leaving for more than 2 s', async (t) => {
  let ended = false
  const hanging = telling((_options, { signal }) => {
    signal.addEventListener('abort', () => (ended = true))
    return new Promise(() => undefined)
  })
  const failing = telling(() => Promise.reject(new Error('no route')))
  const { agent, mesh, clock, log } = agentOf(t, { sources: { hanging, failing } })
  const left = agent.leave()
  await clock.advance(1_999)
  assert.deepEqual(mesh.calls.includes('leave'), false)
  await clock.advance(1)
  await left
  assert.ok(mesh.calls.includes('leave'))
  assert.equal(ended, true)
  assert.equal(log.lines.filter((line) => line.includes('could not tell')).length, 2)
})

for (const leaveOnExit of [true, false]) {
  test(`an agent that ends ${leaveOnExit ? 'and leaves on exit lets' : 'does not let'} its sources tell so`, async (t) => {
    let told = 0
    const source = telling(async () => void told++)
    const { agent, clock } = agentOf(t, { sources: { gossip: source }, agent: { leaveOnExit } })
    await agent.start()
    await clock.advance(100)
    const stopped = agent.stop()
    await clock.advance(100)
    await stopped
    assert.equal(told, leaveOnExit ? 1 : 0)
  })
}
