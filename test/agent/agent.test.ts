import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import * as z from 'zod/mini'
import { createAgent } from '../../agent/agent.ts'
import type { Distribution } from '../../agent/distributions/distribution.ts'
import type { AgentSeams } from '../../agent/world.ts'
import { RollcallError } from '../../core/error.ts'
import type { Observation } from '../../core/member.ts'
import { plan, type PlanInput } from '../../core/plan.ts'
import type { Source } from '../../functions/resolvers/source.ts'
import { complete, configOf, createFakeLog, createFakeMesh, failing, listing, looking } from './fakes.ts'
import { createManualClock } from './manual-clock.ts'

const SELF = 'a@10.0.0.1'
const [B, C, D] = ['b@10.0.0.2', 'c@10.0.0.3', 'd@10.0.0.4'] as const
const INTERVAL = 5_000

interface SetUp extends NonNullable<Parameters<typeof configOf>[1]> {
  mesh?: Partial<Distribution>
  plan?: AgentSeams['plan']
}

/** An agent on a clock, a mesh and sources of the test, with the real plan unless another is given. */
function setUp(t: TestContext, sources: Record<string, Source<unknown>>, options: SetUp = {}) {
  const clock = createManualClock()
  const log = createFakeLog()
  const mesh = createFakeMesh(SELF, options.mesh)
  const { config, loadSource } = configOf(sources, options)
  const inputs: PlanInput[] = []
  const agent = createAgent(config, {
    log,
    clock,
    distribution: mesh,
    loadSource,
    plan(state, input) {
      inputs.push(input)
      return (options.plan ?? plan)(state, input)
    },
  })
  const seen: string[] = []
  agent.on('*', ({ type, node }) => void seen.push(node === undefined ? type : `${type} ${node}`))
  t.after(() => agent.stop())
  return { agent, clock, log, mesh, seen, inputs }
}

const count = (entries: readonly string[], entry: string) => entries.filter((each) => each === entry).length

function silent(): Source<unknown> {
  return looking(() => new Promise(() => undefined))
}

/** A stream that gives whatever it is told, never waiting. */
function streaming(next: (now: number) => unknown): Source<unknown> {
  return {
    options: z.unknown(),
    async *watch(_options, { now }) {
      for (;;) yield next(now()) as Observation
    },
  }
}

test('a node that a source lists is dialled', async (t) => {
  const { agent, clock, mesh, seen } = setUp(t, { s: listing(() => [SELF, B]) })
  await agent.start()
  await clock.advance(100)
  assert.deepEqual([...mesh.links], [B])
  assert.equal(count(seen, `nodeup ${B}`), 1)
  assert.equal(agent.hasRun, true)
})

test('a node that goes away is told as nodedown and dialled again', async (t) => {
  const { agent, clock, mesh, seen } = setUp(t, { s: listing(() => [SELF, B]) })
  await agent.start()
  await clock.advance(100)
  mesh.links.delete(B)
  await clock.advance(3 * INTERVAL)
  assert.deepEqual(
    seen.filter((event) => event.startsWith('node')),
    [`nodeup ${B}`, `nodedown ${B}`, `nodeup ${B}`],
  )
})

test('a node that the source consistently leaves out is disconnected, no sooner than grace', async (t) => {
  let nodes = [SELF, B, C, D]
  const { agent, clock, mesh } = setUp(t, { s: listing(() => nodes) })
  await agent.start()
  await clock.advance(3 * INTERVAL)
  nodes = [SELF, C, D]
  await clock.advance(55_000)
  assert.deepEqual([...mesh.links].sort(), [B, C, D])
  await clock.advance(30_000)
  assert.deepEqual([...mesh.links].sort(), [C, D])
  assert.equal(count(mesh.calls, `disconnect ${B} absent`), 1)
})

test('a source that fails, throws garbage, hangs, ends or floods does not keep another from being heard', async (t) => {
  const sources = {
    fails: failing('down'),
    throws: {
      options: z.unknown(),
      watch: () => {
        throw new TypeError('broken')
      },
    },
    garbage: looking(async () => undefined as unknown as Observation),
    halfGarbage: streaming(() => ({ at: 1, outcome: 'complete', members: 'all' })),
    hangs: silent(),
    ends: { options: z.unknown(), async *watch() {} },
    floods: streaming((now) => complete('floods', now, [SELF, C])),
    good: listing(() => [SELF, B]),
  }
  const { agent, clock, mesh, inputs } = setUp(t, sources)
  await agent.start()
  await clock.advance(1_000)
  assert.deepEqual([...mesh.links].sort(), [B, C])
  await clock.advance(40_000)
  const reports = agent.plan()?.topologies.web?.sources ?? {}
  const codes = Object.entries(reports).map(([id, { outcome, error }]) => [id, error?.code ?? outcome])
  assert.deepEqual(Object.fromEntries(codes), {
    fails: 'down',
    throws: 'internal',
    garbage: 'bad_observation',
    halfGarbage: 'bad_observation',
    hangs: 'timeout',
    ends: 'watch_ended',
    floods: 'complete',
    good: 'complete',
  })
  // 50 rounds a second at most, and one observation of the flood in each.
  assert.ok(inputs.length <= 41 * 50 + 1, `${inputs.length} plans`)
})

test('the hung looks of a source that ignores its signal do not pile up, and it is asked again once they end', async (t) => {
  const hung: ((observation: Observation) => void)[] = []
  const source = looking(() => new Promise((resolve) => hung.push(resolve)))
  const { agent, clock } = setUp(t, { s: source })
  await agent.start()
  await clock.advance(3_600_000)
  assert.equal(hung.length, 4)
  for (const end of hung.splice(0)) end(complete('s', clock.now(), [SELF]))
  await clock.advance(60_000)
  assert.ok(hung.length > 0)
})

test('every observation is handed to one plan', async (t) => {
  let looks = 0
  const source = looking(async (_options, { now }) => ({
    ...complete('s', now(), [SELF, B]),
    at: now() + looks++ / 1_000,
  }))
  const { agent, clock, inputs } = setUp(t, { s: source })
  await agent.start()
  await clock.advance(60 * INTERVAL)
  const handed = inputs.flatMap(({ topologies }) => topologies.web?.observations ?? [])
  assert.equal(handed.length, looks)
  assert.equal(new Set(handed.map(({ at }) => at)).size, looks)
})

test('with everything steady nothing is logged, however many polls', async (t) => {
  let looks = 0
  const source = looking(async (_options, { now }) => (looks++, complete('s', now(), [SELF, B, C])))
  const { agent, clock, log } = setUp(t, { s: source, down: failing('down') })
  await agent.start()
  await clock.advance(10_000)
  const lines = log.lines.length
  looks = 0
  await clock.advance(100 * INTERVAL)
  assert.ok(looks >= 100, `${looks} looks`)
  assert.deepEqual(log.lines.slice(lines), [])
})

test('what comes in one tick is one plan', async (t) => {
  const ids = ['s1', 's2', 's3', 's4', 's5']
  const { agent, clock, inputs } = setUp(t, Object.fromEntries(ids.map((id) => [id, listing(() => [SELF])])))
  await agent.start()
  await clock.advance(1_000)
  const before = inputs.length
  await clock.advance(INTERVAL - 1_000)
  const heard = inputs.slice(before).map(({ topologies }) => topologies.web?.observations.length)
  assert.deepEqual(heard, [5])
})

test('a plan is made at recheckAt though nothing happens', async (t) => {
  const { agent, clock, inputs } = setUp(
    t,
    {},
    {
      intervalMs: 3_600_000,
      plan: (state, input) => ({ ...plan(state, input), recheckAt: input.now + 7_000 }),
    },
  )
  await agent.start()
  await clock.advance(100)
  const before = inputs.length
  await clock.advance(70_000)
  assert.equal(inputs.length - before, 10)
})

test('a plan that throws is told once, and the next one is made', async (t) => {
  let broken = true
  const { agent, clock, mesh, seen } = setUp(
    t,
    { s: listing(() => [SELF, B]) },
    {
      plan(state, input) {
        if (broken) throw new TypeError('a bug')
        return plan(state, input)
      },
    },
  )
  await agent.start()
  await clock.advance(10 * INTERVAL)
  assert.deepEqual(seen, ['plan_failed'])
  broken = false
  await clock.advance(INTERVAL)
  assert.deepEqual([...mesh.links], [B])
})

test('a change that the mesh tells is planned at once', async (t) => {
  const { promise: changed, resolve: change } = Promise.withResolvers<void>()
  const { agent, clock, mesh, seen } = setUp(
    t,
    { s: listing(() => [SELF, B]) },
    {
      intervalMs: 3_600_000,
      mesh: {
        async *changes() {
          await changed
          yield { node: B, up: false }
          await new Promise(() => undefined)
        },
      },
    },
  )
  await agent.start()
  await clock.advance(100)
  mesh.links.delete(B)
  await clock.advance(100)
  assert.equal(count(seen, `nodedown ${B}`), 0)
  change()
  await clock.advance(1)
  assert.equal(count(seen, `nodedown ${B}`), 1)
})

test('a dial that fails is told once per reason, tried again, and keeps no other from its link', async (t) => {
  let code = 'refused'
  const { agent, clock, mesh, seen, log } = setUp(
    t,
    { s: listing(() => [SELF, B, C]) },
    {
      mesh: {
        async connect(node) {
          if (node === B && code !== '') throw new RollcallError(code, `[test] expected a link, got ${code}`)
        },
      },
    },
  )
  await agent.start()
  await clock.advance(60_000)
  assert.deepEqual([...mesh.links], [C])
  assert.equal(count(seen, `dial_failed ${B}`), 1)
  assert.ok(count(mesh.calls, `connect ${B}`) > 3)
  code = 'wrong_cookie'
  await clock.advance(60_000)
  assert.equal(count(seen, `dial_failed ${B}`), 2)
  code = ''
  await clock.advance(60_000)
  code = 'wrong_cookie'
  mesh.links.delete(B)
  await clock.advance(60_000)
  assert.equal(count(seen, `dial_failed ${B}`), 3)
  assert.deepEqual(
    log.lines.filter((line) => line.includes('dial_failed')).map((line) => line.split(' got ')[1]),
    ['refused', 'wrong_cookie', 'wrong_cookie'],
  )
})

test('a dial that hangs and ignores its signal is given up after dialTimeout', async (t) => {
  const { agent, clock, mesh, inputs } = setUp(
    t,
    { s: listing(() => [SELF, B, C]) },
    {
      policy: { dialTimeout: 3_000 },
      mesh: { connect: (node) => (node === B ? new Promise(() => undefined) : Promise.resolve()) },
    },
  )
  await agent.start()
  await clock.advance(2_900)
  assert.deepEqual([...mesh.links], [C])
  await clock.advance(200)
  const outcomes = inputs.flatMap((input) => input.outcomes ?? [])
  assert.deepEqual(outcomes, [
    { node: C, ok: true },
    { node: B, ok: false, code: 'timeout' },
  ])
})

test('while the links cannot be listed no plan is made and nobody is lost', async (t) => {
  let down = false
  const { agent, clock, mesh, seen, inputs, log } = setUp(
    t,
    { s: listing(() => [SELF, B]) },
    {
      mesh: {
        async list() {
          if (down) throw new RollcallError('node_down', '[test] expected the node to run, got nothing')
          return [...mesh.links]
        },
      },
    },
  )
  await agent.start()
  await clock.advance(1_000)
  const [plans, lines] = [inputs.length, log.lines.length]
  down = true
  await clock.advance(20 * INTERVAL)
  assert.equal(inputs.length, plans)
  assert.deepEqual(log.lines.slice(lines).length, 1)
  assert.equal(seen.at(-1), 'distribution_unreachable')
  assert.ok(mesh.calls.length > 15)
  down = false
  await clock.advance(INTERVAL)
  assert.equal(seen.at(-1), 'distribution_recovered')
  assert.deepEqual([...mesh.links], [B])
  assert.equal(count(seen, `nodedown ${B}`), 0)
  assert.ok(inputs.length > plans)
})

test('a mesh that answers something else than a list is unreachable, not empty', async (t) => {
  const { agent, clock, seen } = setUp(
    t,
    { s: listing(() => [SELF, B]) },
    {
      mesh: { list: async () => undefined as unknown as string[] },
    },
  )
  await agent.start()
  await clock.advance(100)
  assert.deepEqual(seen, ['distribution_unreachable'])
  assert.equal(agent.plan(), undefined)
})

test('a disputed cut is held, told once, and asked for again each minute', async (t) => {
  let nodes = [SELF, B, C, D]
  const { agent, clock, mesh, seen, inputs } = setUp(
    t,
    { s: listing(() => nodes) },
    {
      mesh: {
        async disconnect() {
          throw new RollcallError('disputed', '[test] expected nobody else to decide, got an agent')
        },
      },
    },
  )
  await agent.start()
  await clock.advance(3 * INTERVAL)
  nodes = [SELF, C, D]
  await clock.advance(90_000)
  const asked = count(mesh.calls, `disconnect ${B} absent`)
  assert.equal(asked, 1)
  assert.deepEqual(agent.plan()?.disconnect, [])
  assert.deepEqual(
    agent.plan()?.hold.map(({ node, reason }) => [node, reason]),
    [[B, 'disputed']],
  )
  const plans = inputs.length
  await clock.advance(180_000)
  assert.equal(count(mesh.calls, `disconnect ${B} absent`), 4)
  // One each for 36 answers, 36 intervals, 3 refusals and 3 retries: what is held does not keep the loop turning.
  assert.ok(inputs.length - plans <= 78, `${inputs.length - plans} plans`)
  assert.equal(count(seen, `disconnect_disputed ${B}`), 1)
  nodes = [SELF, B, C, D]
  await clock.advance(2 * INTERVAL)
  assert.deepEqual(agent.plan()?.hold, [])
})

test('a cut that fails otherwise stays ordered and is tried again', async (t) => {
  let nodes = [SELF, B, C, D]
  let broken = true
  const { agent, clock, mesh, seen } = setUp(
    t,
    { s: listing(() => nodes) },
    {
      mesh: {
        async disconnect() {
          if (broken) throw new RollcallError('node_down', '[test] expected an answer, got none')
        },
      },
    },
  )
  await agent.start()
  await clock.advance(3 * INTERVAL)
  nodes = [SELF, C, D]
  await clock.advance(90_000)
  assert.deepEqual(agent.plan()?.disconnect, [{ node: B, reason: 'absent' }])
  assert.equal(count(seen, `disconnect_failed ${B}`), 1)
  broken = false
  await clock.advance(2 * INTERVAL)
  assert.equal(mesh.links.has(B), false)
})

test('leave takes the node out once, ends dials under way and dials nobody any more', async (t) => {
  const { agent, clock, mesh, seen } = setUp(
    t,
    { s: listing(() => [SELF, B, C]) },
    {
      mesh: { connect: (node) => (node === C ? new Promise(() => undefined) : Promise.resolve()) },
    },
  )
  await agent.start()
  await clock.advance(100)
  const left = agent.leave()
  await clock.advance(10 * INTERVAL)
  await left
  await agent.leave()
  assert.equal(count(mesh.calls, 'leave'), 1)
  assert.deepEqual([...mesh.links], [])
  assert.equal(agent.plan()?.leave, true)
  assert.deepEqual(
    mesh.calls.slice(mesh.calls.indexOf('leave')).filter((call) => call.startsWith('connect')),
    [],
  )
  assert.deepEqual(
    seen.filter((event) => event === 'leaving' || event === 'left'),
    ['leaving', 'left'],
  )
})

test('leave needs no start', async (t) => {
  const { agent, clock, mesh } = setUp(t, { s: listing(() => [SELF, B]) })
  const left = agent.leave()
  await clock.advance(100)
  await left
  assert.equal(count(mesh.calls, 'leave'), 1)
})

test('a leave that fails is rejected, and tried again until it succeeds', async (t) => {
  let broken = true
  const { agent, clock, mesh } = setUp(
    t,
    { s: listing(() => [SELF, B]) },
    {
      mesh: {
        async leave() {
          if (broken) throw new RollcallError('node_down', '[test] expected an answer, got none')
        },
      },
    },
  )
  await agent.start()
  await clock.advance(100)
  await assert.rejects(agent.leave(), { code: 'node_down' })
  await clock.advance(12_000)
  assert.ok(count(mesh.calls, 'leave') >= 2)
  broken = false
  await clock.advance(20_000)
  const tries = count(mesh.calls, 'leave')
  await clock.advance(60_000)
  assert.equal(count(mesh.calls, 'leave'), tries)
})

// Seen with real nodes: peers that have not heard of it yet dial it anew, and respect its agent when they have.
test('a node that is to be out and is linked again by peers leaves again, ever less often', async (t) => {
  let nodes = [SELF, B, C, D]
  const { agent, clock, mesh } = setUp(t, { s: listing(() => nodes) })
  await agent.start()
  await clock.advance(3 * INTERVAL)
  nodes = [B, C, D]
  await clock.advance(90_000)
  assert.equal(count(mesh.calls, 'leave'), 1)
  mesh.links.add('shell@10.0.0.9')
  await clock.advance(60_000)
  assert.equal(count(mesh.calls, 'leave'), 1, 'a link that no source listed is nobody to leave')
  const leaves: number[] = []
  for (let peer = 0; peer < 4; peer++) {
    mesh.links.add(B)
    const before = clock.now()
    while (mesh.links.has(B)) await clock.advance(1_000)
    leaves.push(Math.round((clock.now() - before) / 1_000))
  }
  assert.equal(count(mesh.calls, 'leave'), 5)
  for (const [index, wait] of leaves.entries())
    assert.ok(index === 0 || wait > 1.4 * (leaves[index - 1] ?? 0), leaves.join())
  nodes = [SELF, B, C, D]
  await clock.advance(30_000)
  assert.deepEqual([...mesh.links].sort(), [B, C, D])
})

test('stop takes the node out where the agent is the node', async (t) => {
  const { agent, clock, mesh } = setUp(t, { s: listing(() => [SELF, B]) }, { mesh: { isNode: true } })
  await agent.start()
  await clock.advance(100)
  await agent.stop()
  assert.deepEqual([...mesh.links], [])
  assert.deepEqual(mesh.calls.filter((call) => call !== 'list').slice(-2), ['leave', 'close'])
})

test('stop leaves the mesh as it is, and takes the node out where leaveOnExit is set', async (t) => {
  for (const leaveOnExit of [false, true]) {
    const { agent, clock, mesh } = setUp(t, { s: listing(() => [SELF, B]) }, { agent: { leaveOnExit } })
    await agent.start()
    await clock.advance(100)
    await agent.stop()
    assert.deepEqual([...mesh.links], leaveOnExit ? [] : [B])
    assert.equal(mesh.calls.at(-1), 'close')
  }
})

test('one round of an agent that was not started never takes the node out', async (t) => {
  const { agent, clock, mesh } = setUp(t, { s: listing(() => [SELF, B]) }, { agent: { leaveOnExit: true } })
  const round = agent.discover()
  await clock.advance(100)
  await round
  await agent.stop()
  assert.deepEqual([...mesh.links], [B])
})

test('start twice is one start, stop is idempotent and may come first, and nothing begins after it', async (t) => {
  const { agent } = setUp(t, { s: listing(() => [SELF]) })
  assert.equal(agent.start(), agent.start())
  await agent.start()
  assert.equal(agent.stop(), agent.stop())
  await agent.stop()
  await assert.rejects(agent.discover(), { code: 'stopped' })
  const other = setUp(t, { s: listing(() => [SELF]) }).agent
  await other.stop()
  await assert.rejects(other.start(), { code: 'stopped' })
})

test('start rejects and ends the agent where a source cannot be loaded', async (t) => {
  const { config } = configOf({ s: listing(() => []) })
  const source = { id: 's', kind: 'none' as const, options: {} }
  const web = { ...config.topologies.web, sources: [source] } as (typeof config.topologies)[string]
  const agent = createAgent(
    { ...config, topologies: { web } },
    { log: createFakeLog(), distribution: createFakeMesh(SELF) },
  )
  t.after(() => agent.stop())
  await assert.rejects(agent.start(), { code: 'config' })
  await assert.rejects(agent.discover(), { code: 'stopped' })
})

test('stop ends whatever hangs', async (t) => {
  const hangs = () => new Promise<never>(() => undefined)
  const { agent, clock, mesh } = setUp(
    t,
    { hangs: looking(hangs), s: listing(() => [SELF, B]) },
    {
      mesh: { connect: hangs, close: hangs },
    },
  )
  await agent.start()
  await clock.advance(100)
  const stopped = agent.stop()
  await clock.advance(5_000)
  await stopped
  assert.equal(mesh.calls.at(-1), 'close')
  assert.equal(clock.sleeping(), 0)
})

test('discover asks every source, dials, and gives what is linked and what went wrong', async (t) => {
  const sources = { s: listing(() => [SELF, B, C]), down: failing('unreachable'), other: listing(() => [D]) }
  const { agent, clock } = setUp(t, sources, {
    intervalMs: 0,
    mesh: {
      async connect(node) {
        if (node === C) throw new RollcallError('refused', '[test] expected a link, got refused')
      },
    },
  })
  const round = agent.discover()
  await clock.advance(100)
  const { connected, errors } = await round
  assert.deepEqual(connected.sort(), [B, D])
  assert.deepEqual(
    errors.map(({ topology, source, node, code }) => ({ topology, source, node, code })),
    [
      { topology: 'web', source: 'down', node: undefined, code: 'unreachable' },
      { topology: undefined, source: undefined, node: C, code: 'refused' },
    ],
  )
})

test('discover ends in time, and names the sources that it has not heard', async (t) => {
  const { agent, clock } = setUp(t, { hangs: silent(), s: listing(() => [SELF, B]) })
  const round = agent.discover({ timeoutMs: 2_000 })
  await clock.advance(2_000)
  const { connected, errors } = await round
  assert.deepEqual(connected, [B])
  assert.deepEqual(
    errors.map(({ source, code }) => [source, code]),
    [
      [undefined, 'timeout'],
      ['hangs', 'timeout'],
    ],
  )
})

test('discover dials more nodes than go into one round', async (t) => {
  const nodes = Array.from({ length: 200 }, (_, index) => `n@10.1.0.${index}`)
  const { agent, clock, mesh } = setUp(t, { s: listing(() => [SELF, ...nodes]) })
  const round = agent.discover()
  await clock.advance(1_000)
  const { connected, errors } = await round
  assert.equal(connected.length, 200)
  assert.deepEqual(errors, [])
  assert.equal(mesh.links.size, 200)
})

test('an interval of never asks nobody but on demand', async (t) => {
  let looks = 0
  const source = looking(async (_options, { now }) => (looks++, complete('s', now(), [SELF, B])))
  const { agent, clock, mesh } = setUp(t, { s: source }, { intervalMs: 0 })
  await agent.start()
  await clock.advance(3_600_000)
  assert.equal(looks, 0)
  assert.equal(agent.hasRun, false)
  const round = agent.discover()
  await clock.advance(100)
  await round
  assert.equal(looks, 1)
  assert.deepEqual([...mesh.links], [B])
  assert.equal(agent.hasRun, true)
})

test('a topology without sources is formed at once', async (t) => {
  const { agent, clock } = setUp(t, {})
  await agent.start()
  await clock.advance(1)
  assert.equal(agent.plan()?.topologies.web?.formed, true)
})

test('subscribing gives the undo', async (t) => {
  const { agent, clock, mesh } = setUp(t, { s: listing(() => [SELF, B]) })
  const heard: string[] = []
  const off = agent.on('nodeup', ({ node }) => void heard.push(node ?? ''))
  await agent.start()
  await clock.advance(100)
  off()
  off()
  mesh.links.clear()
  await clock.advance(3 * INTERVAL)
  assert.deepEqual(heard, [B])
})

test('a listener that throws or rejects hurts nobody and is logged', async (t) => {
  const { agent, clock, mesh, log } = setUp(t, { s: listing(() => [SELF, B]) })
  agent.on('nodeup', () => {
    throw new Error('broken')
  })
  agent.on('nodeup', async () => {
    throw new Error('broken')
  })
  await agent.start()
  await clock.advance(100)
  assert.deepEqual([...mesh.links], [B])
  assert.equal(log.lines.filter((line) => line.includes('a listener threw')).length, 2)
})

test('events gives every event from then on and ends with the agent', async (t) => {
  const { agent, clock } = setUp(t, { s: listing(() => [SELF, B]) })
  const heard: string[] = []
  const events = agent.events()
  const reading = (async () => {
    for await (const { type } of events) heard.push(type)
  })()
  await agent.start()
  await clock.advance(100)
  await agent.stop()
  await reading
  assert.ok(heard.includes('member_listed') && heard.includes('nodeup'))
})

test('a reader of events that stops reading costs a bounded number of them, and is told', async (t) => {
  const { agent, clock, mesh } = setUp(t, { s: listing(() => [SELF]) })
  const events = agent.events()
  await agent.start()
  for (let index = 0; index < 1_200; index++) {
    mesh.links.add(`n${index}@10.1.0.1`)
  }
  await clock.advance(2 * INTERVAL)
  await agent.stop()
  const heard: string[] = []
  for await (const { type } of events) heard.push(type)
  assert.equal(heard[0], 'events_dropped')
  assert.ok(heard.length <= 1_000)
})

test('what throws at once instead of rejecting is a failure like any other', async (t) => {
  const thrower = () => {
    throw new TypeError('broken')
  }
  const iterator = { [Symbol.asyncIterator]: () => ({ next: thrower, return: thrower }) }
  const sources = { looks: looking(thrower), watches: { options: z.unknown(), watch: () => iterator } }
  const { agent, clock, seen } = setUp(
    t,
    { ...sources, s: listing(() => [SELF, B]) },
    {
      mesh: { connect: thrower, changes: () => iterator, leave: thrower },
    },
  )
  await agent.start()
  await clock.advance(60_000)
  assert.equal(count(seen, `dial_failed ${B}`), 1)
  assert.equal(count(seen, 'source_failed'), 2)
  await assert.rejects(agent.leave(), { message: 'broken' })
})

test('a mesh whose list throws at once is unreachable', async (t) => {
  const { agent, clock, seen } = setUp(
    t,
    { s: listing(() => [SELF, B]) },
    {
      mesh: {
        list() {
          throw new TypeError('broken')
        },
      },
    },
  )
  await agent.start()
  await clock.advance(60_000)
  assert.deepEqual(seen, ['distribution_unreachable'])
})

test('each topology hears its own sources, though they share a name', async (t) => {
  const { config, loadSource } = configOf({ s: listing(() => []) })
  const { web } = config.topologies
  assert.ok(web)
  const [clock, mesh] = [createManualClock(), createFakeMesh(SELF)]
  const lists = [listing(() => [SELF, B]), listing(() => [SELF, C])]
  const agent = createAgent(
    { ...config, topologies: { web, jobs: web } },
    {
      log: createFakeLog(),
      clock,
      distribution: mesh,
      loadSource: async (source) => lists.shift() ?? loadSource(source),
    },
  )
  t.after(() => agent.stop())
  await agent.start()
  await clock.advance(100)
  assert.deepEqual([...mesh.links].sort(), [B, C])
  const topologies = agent.plan()?.state.topologies
  assert.deepEqual(topologies?.web?.sources.s?.listed, [SELF, B])
  assert.deepEqual(topologies?.jobs?.sources.s?.listed, [SELF, C])
})

test('a failed dial of a node that has a link by now is no error of a round', async (t) => {
  let nodes = [SELF, B, C, D]
  const { agent, clock, mesh } = setUp(
    t,
    { s: listing(() => nodes) },
    {
      mesh: {
        async connect(node) {
          if (node === B) throw new RollcallError('refused', '[test] expected a link, got refused')
        },
      },
    },
  )
  await agent.start()
  await clock.advance(100)
  mesh.links.add(B)
  nodes = [SELF, C, D]
  await clock.advance(2 * INTERVAL)
  const round = agent.discover()
  await clock.advance(100)
  assert.deepEqual((await round).errors, [])
  assert.deepEqual(
    agent.plan()?.hold.map(({ node }) => node),
    [B],
  )
})

test('a node without a name in the config has it from the environment, and without any it is an error', async (t) => {
  const { config, loadSource } = configOf({ s: listing(() => []) })
  const exec = { connect: ['true'], disconnect: ['true'], list: ['true'] }
  const nameless = { ...config, node: undefined, distribution: { exec } }
  const { ROLLCALL_NODE, RELEASE_NODE } = process.env
  t.after(() => {
    delete process.env.RELEASE_NODE
    Object.assign(process.env, ROLLCALL_NODE && { ROLLCALL_NODE }, RELEASE_NODE && { RELEASE_NODE })
  })
  delete process.env.ROLLCALL_NODE
  delete process.env.RELEASE_NODE
  await assert.rejects(createAgent(nameless, { log: createFakeLog() }).start(), {
    code: 'config',
    message: /RELEASE_NODE/,
  })

  process.env.RELEASE_NODE = D
  const agent = createAgent(nameless, { log: createFakeLog(), loadSource })
  t.after(() => agent.stop())
  await agent.discover()
  assert.equal(agent.plan()?.state.self, D)
})
