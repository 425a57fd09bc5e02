import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, it, type TestContext } from 'node:test'
import * as z from 'zod/mini'
import { createAgent } from '../../agent/agent.ts'
import type { Config } from '../../core/config.ts'
import { type Observation, up } from '../../core/member.ts'
import { defaultPolicy } from '../../core/policy.ts'
import type { Source } from '../../functions/resolvers/source.ts'
import { complete, createFakeLog, createFakeMesh, failing, listing, looking } from './fakes.ts'
import { createManualClock } from './manual-clock.ts'

const SELF = 'a@10.0.0.1'
const [B, C, D] = ['b@10.0.0.2', 'c@10.0.0.3', 'd@10.0.0.4'] as const
const INTERVAL = 5_000

type Topologies = Record<string, { intervalMs?: number; sources: Record<string, Source<unknown>> }>

/** An agent with these topologies and their sources, on a clock and a mesh of the test. */
function setUp(t: TestContext, topologies: Topologies) {
  const clock = createManualClock()
  const log = createFakeLog()
  const mesh = createFakeMesh(SELF)
  const config: Config = {
    node: SELF,
    topologies: Object.fromEntries(
      Object.entries(topologies).map(([topology, { intervalMs = INTERVAL, sources }]) => {
        // Ids repeat among topologies; the kind tells whose it is.
        const named = Object.keys(sources).map((id) => ({ id, kind: topology, options: {} }))
        return [topology, { intervalMs, sources: named, policy: { ...defaultPolicy } }]
      }),
    ),
    agent: { leaveOnExit: false },
    log: { level: 'silent' },
  }
  const agent = createAgent(config, {
    log,
    clock,
    distribution: mesh,
    loadSource: async ({ id, kind }) => topologies[kind]?.sources[id] ?? assert.fail(`no source ${id}`),
  })
  t.after(() => agent.stop())
  const outcomes = (topology: string) =>
    Object.values(agent.plan()?.topologies[topology]?.sources ?? {}).map(({ outcome, error }) => error?.code ?? outcome)
  return { agent, clock, log, mesh, outcomes }
}

/** One that is only listened to: it hears of these nodes, and then of nobody. */
function ear(nodes: readonly string[]): Source<unknown> {
  return {
    options: z.unknown(),
    async *watch(_options, { source, now, signal }) {
      yield { source, at: now(), outcome: 'partial', reason: 'only heard', members: nodes.map(up) }
      if (!signal.aborted) await once(signal, 'abort')
    },
  }
}

function bad(): Record<string, Source<unknown>> {
  return {
    fails: failing('down'),
    throws: looking(() => {
      throw new TypeError('broken')
    }),
    hangs: looking(() => new Promise(() => undefined)),
    floods: {
      options: z.unknown(),
      async *watch(_options, { source, now }) {
        for (;;) yield complete(source, now(), [SELF])
      },
    },
  }
}

describe('several topologies with several sources each', () => {
  it('are heard side by side, however bad some of the sources are', async (t) => {
    const { agent, clock, mesh, outcomes } = setUp(t, {
      web: { sources: { ...bad(), one: listing(() => [SELF, B]), two: ear([C]) } },
      jobs: { sources: { ...bad(), one: listing(() => [SELF, D]) } },
    })
    await agent.start()
    await clock.advance(1_000)
    assert.deepEqual([...mesh.links].sort(), [B, C, D])
    await clock.advance(60_000)
    assert.deepEqual(outcomes('web'), ['down', 'internal', 'timeout', 'complete', 'complete', 'partial'])
    assert.deepEqual(outcomes('jobs'), ['down', 'internal', 'timeout', 'complete', 'complete'])
  })

  it('cut for one what the bad sources of another never knew', async (t) => {
    let nodes: string[] = [SELF, B, C, D]
    const { agent, clock, mesh } = setUp(t, {
      web: { sources: { one: listing(() => nodes) } },
      jobs: { sources: bad() },
    })
    await agent.start()
    await clock.advance(20_000)
    nodes = [SELF, C, D]
    await clock.advance(90_000)
    assert.deepEqual([...mesh.links].sort(), [C, D])
  })

  it('keep intervals of their own, and one of never is asked on demand only', async (t) => {
    const looks: string[] = []
    const counted = (name: string, nodes: readonly string[]) =>
      looking(async (_options, { source, now }) => (looks.push(name), complete(source, now(), nodes)))
    const { agent, clock, mesh } = setUp(t, {
      often: { intervalMs: 1_000, sources: { s: counted('often', [SELF, B]) } },
      seldom: { intervalMs: 10_000, sources: { s: counted('seldom', [SELF, C]) } },
      never: { intervalMs: 0, sources: { s: counted('never', [SELF, D]) } },
    })
    const count = (name: string) => looks.filter((look) => look === name).length
    await agent.start()
    await clock.advance(20_000)
    assert.deepEqual([count('often'), count('seldom'), count('never')], [21, 3, 0])
    assert.deepEqual([...mesh.links].sort(), [B, C])
    const round = agent.discover()
    await clock.advance(100)
    assert.deepEqual((await round).connected.toSorted(), [B, C, D])
    assert.equal(count('never'), 1)
  })

  it('are all asked by one round on demand, which names each source that failed with its topology', async (t) => {
    const { agent, clock } = setUp(t, {
      web: { intervalMs: 0, sources: { s: listing(() => [SELF, B]), other: failing('down') } },
      jobs: { intervalMs: 0, sources: { s: failing('gone'), heard: ear([SELF, C]) } },
    })
    const round = agent.discover()
    await clock.advance(1_000)
    const { connected, errors } = await round
    assert.deepEqual(connected.toSorted(), [B, C])
    assert.deepEqual(errors.map(({ topology, source, code }) => `${topology} ${source} ${code}`).sort(), [
      'jobs s gone',
      'web other down',
    ])
  })
})

describe('a source that cannot work', () => {
  it('is tried again for ever, at the latest every 30 s, and is heard as soon as it works', async (t) => {
    let opened = 0
    let works = false
    const source: Source<unknown> = {
      options: z.unknown(),
      async *watch(options, context) {
        opened++
        if (!works) throw new TypeError('broken')
        yield* ear([SELF, B]).watch?.(options, context) ?? []
      },
    }
    const { agent, clock, mesh, log } = setUp(t, { web: { sources: { s: source } } })
    await agent.start()
    await clock.advance(3 * 3_600_000)
    assert.ok(opened >= 3 * 120 && opened <= 3 * 150 + 10, `${opened} times`)
    assert.equal(log.lines.filter((line) => line.includes('source_failed')).length, 1)
    works = true
    await clock.advance(30_000)
    assert.deepEqual([...mesh.links], [B])
  })

  it('hurts no plan by members that are no members', async (t) => {
    const cycle: Record<string, unknown> = {}
    cycle.node = cycle
    let deep: unknown = []
    for (let depth = 0; depth < 50_000; depth++) deep = [deep]
    const members = [
      cycle,
      deep,
      10n,
      Symbol('x'),
      null,
      undefined,
      () => 1,
      { node: deep },
      { node: 7n },
      up(C),
      up(C),
    ]
    const answers = [members, [up(C), null], [null], [null, null, up(C), up(C)], [up(C), undefined], [null, up(C)]]
    let looks = 0
    const odd = looking(async (_options, { source, now }) => {
      const given: unknown = { source, at: now(), outcome: 'complete', members: answers[looks++ % answers.length] }
      return given as Observation
    })
    const { agent, clock, mesh, log } = setUp(t, { web: { sources: { odd, good: listing(() => [SELF, B]) } } })
    await agent.start()
    await clock.advance(60_000)
    assert.deepEqual([...mesh.links].sort(), [B, C])
    assert.deepEqual(
      log.lines.filter((line) => line.includes('plan_failed')),
      [],
    )
    assert.equal(log.lines.filter((line) => line.includes('members_skipped')).length > 0, true)
  })
})
