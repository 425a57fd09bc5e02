import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { RollcallError } from '../../core/error.ts'
import { type MembersDocument, membersDocumentSchema } from '../../core/wire.ts'
import { createObserver, type Observer } from '../../functions/observer.ts'
import { complete, createClock, createMemoryLog, createScripted, failing, topologiesOf } from './scripted.ts'

const DOWN = failing(new RollcallError('dns_unreachable', '[dns] expected an answer, got none'))

function setUp({
  topology = {},
  second = false,
  patienceMs,
}: {
  topology?: object
  second?: boolean
  patienceMs?: number
} = {}) {
  const clock = createClock()
  const log = createMemoryLog()
  const first = createScripted(complete('a@h', 'b@h'))
  const other = createScripted(complete('c@h'))
  const sources = [{ static: { nodes: [] } }, ...(second ? [{ dns: { query: 'x.test', basename: 'app' } }] : [])]
  const config = topologiesOf({ web: { interval: '5s', sources, ...topology } }).web
  assert.ok(config)
  const observer = createObserver({
    topology: 'web',
    config,
    loaders: { static: async () => first.source, dns: async () => other.source },
    context: { now: clock.now, log, fetch },
    patienceMs,
  })
  return { clock, log, first, other, observer, document: () => documentOf(observer, clock.now()) }
}

async function documentOf(observer: Observer, time: number): Promise<MembersDocument> {
  await observer.refresh()
  const view = observer.view()
  assert.ok(view, 'a view')
  return membersDocumentSchema.parse(JSON.parse(view.render(time)))
}

function namesOf({ members }: MembersDocument): string[] {
  return members.map(({ node }) => node)
}

describe('an observer', () => {
  it('asks a source once per interval, however many ask', async () => {
    const { observer, first, clock } = setUp()
    await Promise.all(Array.from({ length: 1_000 }, async () => await observer.refresh()))
    assert.equal(first.asked(), 1)
    clock.pass(4_999)
    assert.equal(observer.refresh(), undefined, 'nothing to wait for while it is fresh')
    clock.pass(1)
    await Promise.all(Array.from({ length: 1_000 }, async () => await observer.refresh()))
    assert.equal(first.asked(), 2)
  })

  it('asks nobody on its own', async () => {
    const { first, observer } = setUp()
    assert.equal(observer.view(), undefined)
    assert.deepEqual(observer.observations(), [])
    assert.equal(first.asked(), 0)
  })

  it('asks a failing source no more often than one that answers', async () => {
    const { observer, first, clock } = setUp()
    first.say(DOWN)
    await observer.refresh()
    await observer.refresh()
    clock.pass(4_999)
    await observer.refresh()
    assert.equal(first.asked(), 1)
  })

  it('leaves a source alone for as long as it asked to be', async () => {
    const { observer, first, clock } = setUp()
    first.say(failing(new RollcallError('throttled', '[x] slow down', { retryAfterMs: 20_000 })))
    await observer.refresh()
    assert.equal(observer.retryAfterMs(), 20_000)
    clock.pass(19_999)
    await observer.refresh()
    assert.equal(first.asked(), 1)
    clock.pass(1)
    await observer.refresh()
    assert.equal(first.asked(), 2)
  })

  it('asks on demand under interval never, and shares an ask among the callers of a second', async () => {
    const { observer, first, clock } = setUp({ topology: { interval: 'never' } })
    await observer.refresh()
    clock.pass(999)
    await observer.refresh()
    assert.equal(first.asked(), 1)
    clock.pass(1)
    await observer.refresh()
    assert.equal(first.asked(), 2)
  })

  it('is not silenced by a clock that is set back', async () => {
    const { observer, first, clock } = setUp()
    await observer.refresh()
    clock.pass(-3_600_000)
    await observer.refresh()
    assert.equal(first.asked(), 2)
  })

  it('has no view while no source has answered, which is not the same as an empty one', async () => {
    const { observer, first, clock, document } = setUp()
    first.say(DOWN)
    await observer.refresh()
    assert.equal(observer.view(), undefined)
    first.say(complete())
    clock.pass(5_000)
    assert.deepEqual(namesOf(await document()), [])
  })

  it('keeps the last answer of a source that fails, marked stale and with its age, until it is too old', async () => {
    const { observer, first, clock, document } = setUp({ topology: { policy: { stale: '1m' } } })
    await observer.refresh()
    first.say(DOWN)
    clock.pass(30_000)
    const { outcome, stale, ageMs, sources, ...rest } = await document()
    assert.deepEqual({ outcome, stale, ageMs }, { outcome: 'failed', stale: true, ageMs: 30_000 })
    const error = { code: 'dns_unreachable', message: '[dns] expected an answer, got none' }
    assert.deepEqual(sources, [{ source: 'static', outcome: 'failed', ageMs: 30_000, error }])
    assert.deepEqual(
      rest.members.map(({ node }) => node),
      ['a@h', 'b@h'],
    )
    clock.pass(30_001)
    assert.equal(observer.view(), undefined, 'at once, not only after the next ask')
    const [observation] = observer.observations()
    assert.deepEqual([observation?.outcome, observation?.members], ['failed', undefined])
  })

  it('tells the plan of a failure, with the members that stand', async () => {
    const { observer, first, clock } = setUp()
    await observer.refresh()
    first.say(DOWN)
    clock.pass(5_000)
    await observer.refresh()
    const [observation] = observer.observations()
    assert.equal(observation?.outcome, 'failed')
    assert.equal(observation?.at, clock.now())
    assert.equal(observation?.members?.length, 2)
  })

  it('answers from what it has while a source is slow, and takes the late answer when it comes', async () => {
    const { observer, first, clock, document } = setUp({ patienceMs: 0 })
    await observer.refresh()
    const { promise, resolve } = Promise.withResolvers<void>()
    first.say(async (context) => {
      await promise
      return await complete('late@h')(context)
    })
    clock.pass(5_000)
    const kept: Promise<void>[] = []
    await observer.refresh((ask) => kept.push(ask))
    const before = await document()
    assert.deepEqual([namesOf(before), before.ageMs, before.stale], [['a@h', 'b@h'], 5_000, false])
    resolve()
    await Promise.all(kept)
    assert.deepEqual(namesOf(await document()), ['late@h'])
  })

  it('ends an ask that does not heed its signal, and calls it a failure', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const { observer, first } = setUp()
    let signal: AbortSignal | undefined
    first.say((context) => {
      signal = context.signal
      return new Promise(() => {})
    })
    const refresh = observer.refresh()
    await new Promise(setImmediate)
    t.mock.timers.tick(6_000)
    await refresh
    assert.equal(signal?.aborted, true)
    const [observation] = observer.observations()
    assert.equal(observation?.outcome === 'failed' && observation.error.code, 'timeout')
  })

  it('calls a source that is not loaded in time a failure, and nothing is left unhandled', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const config = topologiesOf({ web: { interval: '5s', sources: [{ static: { nodes: [] } }] } }).web
    assert.ok(config)
    const context = { now: createClock().now, log: createMemoryLog(), fetch }
    const loaders = { static: () => new Promise<never>(() => {}) }
    const observer = createObserver({ topology: 'web', config, loaders, context })
    const refresh = observer.refresh()
    await new Promise(setImmediate)
    t.mock.timers.tick(6_000)
    await refresh
    const [observation] = observer.observations()
    assert.equal(observation?.outcome === 'failed' && observation.error.code, 'timeout')
  })

  it('asks again when an ask died without an end, and heeds the new one only', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const { observer, first, clock, document } = setUp()
    const { promise, resolve } = Promise.withResolvers<void>()
    first.say(async (context) => {
      await promise
      return await complete('dead@h')(context)
    })
    const dead = observer.refresh()
    await new Promise(setImmediate)
    first.say(complete('new@h'))
    clock.pass(7_000) // the timers of a request that is over do not fire
    assert.deepEqual(namesOf(await document()), ['new@h'])
    resolve()
    t.mock.timers.tick(10_000)
    await dead
    assert.deepEqual(namesOf(await document()), ['new@h'])
  })

  it('hands every ask that begins to the host that must keep it alive', async () => {
    const { observer } = setUp({ second: true })
    const kept: Promise<void>[] = []
    await observer.refresh((ask) => kept.push(ask))
    await observer.refresh((ask) => kept.push(ask))
    assert.equal(kept.length, 2)
  })

  it('merges its sources: leaving beats up, and the order of the sources does not show', async () => {
    const { first, other, document } = setUp({ second: true })
    first.say(complete('b@h', 'a@h'))
    other.say(complete({ node: 'a@h', status: 'leaving' }, 'c@h'))
    const { members, outcome } = await document()
    assert.equal(outcome, 'complete')
    assert.deepEqual(members, [
      { node: 'a@h', status: 'leaving' },
      { node: 'b@h', status: 'up' },
      { node: 'c@h', status: 'up' },
    ])
  })

  it('is partial while one of two sources fails, and stale only if an old answer stands in for it', async () => {
    const { first, other, clock, document } = setUp({ second: true })
    other.say(DOWN)
    const never = await document()
    assert.deepEqual([never.outcome, never.stale, namesOf(never)], ['partial', false, ['a@h', 'b@h']])
    other.say(complete('c@h'))
    clock.pass(5_000)
    assert.equal((await document()).outcome, 'complete')
    first.say(DOWN)
    clock.pass(5_000)
    const now = await document()
    assert.deepEqual([now.outcome, now.stale, now.ageMs], ['partial', true, 5_000])
    assert.deepEqual(namesOf(now), ['a@h', 'b@h', 'c@h'])
  })

  it('names equal content equally, whenever and in whatever order it was said', async () => {
    const [one, two] = [setUp(), setUp()]
    two.first.say(complete('b@h', 'a@h'))
    two.clock.pass(123_456)
    assert.equal((await one.document()).revision, (await two.document()).revision)
    const revision = (await one.document()).revision
    one.first.say(DOWN)
    one.clock.pass(5_000)
    assert.notEqual((await one.document()).revision, revision, 'an outcome is content')
  })

  it('cuts an answer with more members than maxMembers, always the same ones, and calls it partial', async () => {
    const { first, clock, document } = setUp({ topology: { policy: { maxMembers: 2 } } })
    first.say(complete('c@h', 'a@h', 'b@h'))
    const { outcome, members } = await document()
    assert.deepEqual([outcome, members.map(({ node }) => node)], ['partial', ['a@h', 'b@h']])
    first.say(complete('b@h', 'c@h', 'a@h'))
    clock.pass(5_000)
    assert.deepEqual(namesOf(await document()), ['a@h', 'b@h'])
  })

  it('logs a failure and its end once', async () => {
    const { observer, first, clock, log } = setUp()
    for (const look of [DOWN, DOWN, complete('a@h'), complete('a@h')]) {
      first.say(look)
      await observer.refresh()
      clock.pass(5_000)
    }
    assert.deepEqual(
      log.lines.map(({ level, message }) => `${level}: ${message}`),
      ['warn: source failed', 'info: source answers again'],
    )
  })
})
