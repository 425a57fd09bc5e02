import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { type TestContext, test } from 'node:test'
import { type Agent, createAgent } from '../../agent/agent.ts'
import { ageState } from '../../agent/state-file.ts'
import { type Observation, up } from '../../core/member.ts'
import type { NodeName } from '../../core/node.ts'
import { plan } from '../../core/plan.ts'
import { defaultPolicy } from '../../core/policy.ts'
import { isKnown, type State } from '../../core/state.ts'
import { complete, configOf, createFakeLog, createFakeMesh, type FakeMesh, looking } from './fakes.ts'
import { createManualClock, type ManualClock } from './manual-clock.ts'

// An agent that ends while its source is down, and another that goes on from the file that it left.
const SELF = 'a@10.0.0.1'
const B = 'b@10.0.0.2'
const C = 'c@10.0.0.3'
// When the manual clock begins, and the source answers for the first time.
const BEGAN = createManualClock().now()
const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
// How long a life has when a test first looks at it: its source was asked and its dials were ordered.
const START_MS = 100

const LEAVING = { status: 'leaving' } as const

interface Life {
  readonly agent: Agent
  readonly mesh: FakeMesh
  readonly log: ReturnType<typeof createFakeLog>
  /** Who was dialled since the last call. */
  readonly dialled: () => NodeName[]
}

interface Lives {
  readonly clock: ManualClock
  /** Whom the source lists; undefined: it is down. */
  listed: readonly NodeName[] | undefined
  /** Those of them that it says to be leaving. */
  leaving: readonly NodeName[]
  start(options?: { links?: readonly NodeName[] }): Promise<Life>
}

async function livesOf(t: TestContext): Promise<Lives> {
  const folder = await mkdtemp('/tmp/rollcall-restart-')
  t.after(() => rm(folder, { recursive: true }))
  const clock = createManualClock()
  const lives: Lives = {
    clock,
    listed: [SELF, B, C],
    leaving: [],
    async start({ links = [] } = {}) {
      const source = looking(async (_options, { source: id, now }) => {
        if (lives.listed === undefined) throw new TypeError('down')
        const members = lives.listed.map((node) => ({ ...up(node), ...(lives.leaving.includes(node) && LEAVING) }))
        return { source: id, at: now(), outcome: 'complete', members }
      })
      const { config, loadSource } = configOf({ s: source }, { agent: { state: `${folder}/state.json` } })
      // Nobody can be reached: the links stay as a test makes them.
      const mesh = createFakeMesh(SELF, {
        async connect() {
          throw new TypeError('nobody there')
        },
      })
      for (const node of links) mesh.links.add(node)
      const log = createFakeLog()
      const agent = createAgent(config, { log, distribution: mesh, loadSource, clock })
      t.after(() => agent.stop())
      await agent.start()
      await clock.advance(START_MS)
      function dialled(): NodeName[] {
        const dials = mesh.calls.splice(0).filter((call) => call.startsWith('connect '))
        return [...new Set(dials.map((call) => call.slice('connect '.length)))].sort()
      }
      return { agent, mesh, log, dialled }
    },
  }
  return lives
}

/** An agent that was linked with all whom its source listed ends, and its source with it; then `ms` pass. */
async function endBoth(lives: Lives, ms: number): Promise<void> {
  const { agent } = await lives.start({ links: [B, C] })
  await agent.stop()
  lives.listed = undefined
  await lives.clock.advance(ms)
}

test('an agent that starts while its source is down dials whom it knew, and says that this is stale', async (t) => {
  const lives = await livesOf(t)
  await endBoth(lives, MINUTE_MS)
  const { agent, log, dialled } = await lives.start()
  assert.deepEqual(dialled(), [B, C])
  assert.deepEqual(agent.plan()?.topologies.web?.sources.s, {
    outcome: 'failed',
    at: BEGAN + MINUTE_MS + START_MS,
    staleSince: BEGAN,
    members: 3,
    error: { code: 'internal', message: 'down' },
  })
  assert.deepEqual(
    log.lines.filter((line) => line.includes('source_failed')),
    ['warn source_failed down (internal); what it said before stands'],
  )
})

test('each start says anew that the source is down', async (t) => {
  const lives = await livesOf(t)
  await endBoth(lives, MINUTE_MS)
  for (let start = 1; start <= 3; start++) {
    const { agent, log } = await lives.start()
    await agent.stop()
    assert.ok(
      log.lines.some((line) => line.startsWith('warn source_failed')),
      `start ${start}`,
    )
  }
})

test('a source that answers again is stale no more', async (t) => {
  const lives = await livesOf(t)
  await endBoth(lives, MINUTE_MS)
  const { agent } = await lives.start()
  lives.listed = [SELF, B]
  await lives.clock.advance(MINUTE_MS)
  const { outcome, staleSince } = agent.plan()?.topologies.web?.sources.s ?? {}
  assert.deepEqual({ outcome, staleSince }, { outcome: 'complete', staleSince: undefined })
})

test('however often it starts, whom it knew is dialled until an hour after they were named last', async (t) => {
  const lives = await livesOf(t)
  await endBoth(lives, 10 * MINUTE_MS)
  for (const minutes of [10, 21, 32, 43]) {
    const { agent, dialled } = await lives.start()
    assert.deepEqual(dialled(), [B, C], `${minutes} minutes after the answer`)
    await lives.clock.advance(MINUTE_MS)
    await agent.stop()
    await lives.clock.advance(10 * MINUTE_MS)
  }
  const { dialled } = await lives.start()
  await lives.clock.advance(4 * MINUTE_MS)
  assert.deepEqual(dialled(), [B, C])
  await lives.clock.advance(3 * MINUTE_MS)
  dialled()
  await lives.clock.advance(HOUR_MS)
  assert.deepEqual(dialled(), [])
})

test('a file of last week dials nobody before its source answers', async (t) => {
  const lives = await livesOf(t)
  const { agent } = await lives.start({ links: [B, C] })
  // The last answer leaves C out, which is not absent for long enough to be removed.
  lives.listed = [SELF, B]
  await lives.clock.advance(10_000)
  await agent.stop()
  lives.listed = undefined
  await lives.clock.advance(7 * 24 * HOUR_MS)
  const { dialled } = await lives.start()
  await lives.clock.advance(MINUTE_MS)
  assert.deepEqual(dialled(), [])
  lives.listed = [SELF, C]
  await lives.clock.advance(MINUTE_MS)
  assert.deepEqual(dialled(), [C])
})

test('a file of last week still tells which links the source once made: what it leaves out since is cut', async (t) => {
  const lives = await livesOf(t)
  await endBoth(lives, 7 * 24 * HOUR_MS)
  const { agent, mesh } = await lives.start({ links: [B, C] })
  await lives.clock.advance(MINUTE_MS)
  assert.deepEqual(agent.plan()?.disconnect, [])
  lives.listed = [SELF, B]
  await lives.clock.advance(2 * MINUTE_MS)
  assert.ok(mesh.calls.includes(`disconnect ${C} absent`))
})

test('a node that was leaving keeps its link for drain, however long nobody ran', async (t) => {
  const lives = await livesOf(t)
  lives.leaving = [C]
  await endBoth(lives, HOUR_MS)
  const { agent } = await lives.start({ links: [B, C] })
  assert.deepEqual(
    agent.plan()?.hold.map(({ node, reason }) => `${node} ${reason}`),
    [`${C} leaving`],
  )
})

test('a cron job whose period is its interval knows for as long as an agent that runs', () => {
  const policy = { ...defaultPolicy }
  const intervalMs = 5 * MINUTE_MS
  let state: State | undefined
  for (let minutes = 0; minutes <= 60; minutes += 5) {
    const now = BEGAN + minutes * MINUTE_MS
    const observation: Observation =
      minutes === 0
        ? complete('s', now, [SELF, B])
        : { source: 's', at: now, outcome: 'failed', error: { code: 'down', message: 'down' } }
    const web = { sources: ['s'], intervalMs, policy, observations: [observation] }
    const before = state && ageState(state, { now, topologies: { web } })
    state = plan(before, { self: SELF, now, links: [], topologies: { web } }).state
    assert.equal(isKnown(state, B), minutes < 60, `after ${minutes} minutes`)
  }
})
