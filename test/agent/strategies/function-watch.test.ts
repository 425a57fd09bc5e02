import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { createFunctionSource } from '../../../agent/strategies/function.ts'
import { openSource } from '../../../agent/strategies/index.ts'
import { type Member, type Observation, up } from '../../../core/member.ts'
import { createFakeLog } from '../fakes.ts'
import { createManualClock } from '../manual-clock.ts'
import { parseOptions } from '../../contract/source-contract.ts'
import { type ScriptedFunction, startFunction } from './scripted-function.ts'

const SELF = 'app@10.0.0.1'
const OTHER = 'app@10.0.0.2'
const INTERVAL_MS = 5_000
const ID = 'the-id-of-this-start'

interface WatchOptions extends Record<string, unknown> {
  members?: readonly Member[]
  prepare?: (remote: ScriptedFunction) => void
}

/** A watch of a scripted function, on a clock that stands still and whose chance is 1. */
async function watch(t: TestContext, { members = [up(SELF), up(OTHER)], prepare, ...given }: WatchOptions = {}) {
  const remote = await startFunction(t, members)
  prepare?.(remote)
  const clock = createManualClock()
  const log = createFakeLog()
  const ended = new AbortController()
  const options = parseOptions('function', { url: remote.url, topology: 'web', ...given })
  const source = createFunctionSource({ clock, newId: () => ID })
  const address = () => ({ host: '10.0.0.1', port: 4370 })
  const context = { source: 'function', self: SELF, address, now: clock.now, intervalMs: INTERVAL_MS, log, fetch }
  const own = { ...context, signal: ended.signal }
  const iterator = source.watch?.(options as never, own)[Symbol.asyncIterator]() ?? assert.fail('expected a watch')
  t.after(async () => {
    ended.abort()
    await iterator.return?.()
  })
  async function next(): Promise<Observation> {
    const { value, done } = await iterator.next()
    return done ? assert.fail('expected a watch without end') : value
  }
  return {
    remote,
    clock,
    log,
    next,
    leave: () => source.leave?.(options as never, own),
    look: () => source.look?.(options as never, own),
    last: () => remote.requests.at(-1) ?? assert.fail('expected a request'),
    puts: () => remote.requests.filter(({ method }) => method === 'PUT'),
  }
}

const namesIn = ({ members = [] }: Observation) => members.map(({ node }) => node)

describe('the watch of a function', () => {
  it('has it wait for a change, and gives the set with a new time when the wait is over', async (t) => {
    const { remote, clock, next, last } = await watch(t)
    const first = await next()
    assert.equal(last().url, '/v1/topologies/web/members')
    const waiting = next()
    await remote.came(2)
    assert.equal(last().url, '/v1/topologies/web/members?wait=5000ms')
    assert.equal(last().headers['if-none-match'], 'W/"r1"')
    await clock.advance(INTERVAL_MS)
    remote.release()
    assert.deepEqual(await waiting, { ...first, at: first.at + INTERVAL_MS })
    void next().catch(() => undefined)
    await remote.came(3)
    assert.match(last().url, /wait=5000ms$/, 'at once, for the function waits')
  })

  it('gives a change as soon as the function tells it', async (t) => {
    const { remote, next } = await watch(t)
    await next()
    const waiting = next()
    await remote.came(2)
    remote.list([up(SELF)])
    assert.deepEqual(namesIn(await waiting), [SELF])
  })

  it('takes changes that come all the time at the pace of a poll', async (t) => {
    const { remote, clock, next } = await watch(t)
    await next()
    for (const count of [2, 3]) {
      const waiting = next()
      if (count === 3) await clock.advance(INTERVAL_MS)
      await remote.came(count)
      remote.list([up(SELF)])
      await waiting
    }
    const waiting = next()
    await clock.advance(INTERVAL_MS - 1)
    assert.equal(remote.requests.length, 3)
    await clock.advance(1)
    await remote.came(4)
    remote.list([up(OTHER)])
    await waiting
  })

  it('waits for 25 s once nobody was left out for ten minutes, and at each interval when somebody is', async (t) => {
    const { remote, clock, next, last } = await watch(t)
    await next()
    await clock.advance(600_000)
    let waiting = next()
    await remote.came(2)
    // Asked for before the ten minutes were over.
    await clock.advance(INTERVAL_MS)
    remote.release()
    await waiting
    waiting = next()
    await remote.came(3)
    assert.match(last().url, /wait=25000ms$/)
    remote.list([up(SELF), up(OTHER), up('app@10.0.0.3')])
    await waiting
    waiting = next()
    await remote.came(4)
    assert.match(last().url, /wait=25000ms$/, 'nobody was left out')
    remote.list([up(SELF), up(OTHER)])
    await waiting
    void next().catch(() => undefined)
    await clock.advance(INTERVAL_MS)
    await remote.came(5)
    assert.match(last().url, /wait=5000ms$/)
  })

  for (const [what, headers] of [
    ['says that it does not wait', { 'Rollcall-Wait': 'no' }],
    ['answers early without a change', {}],
  ] as const) {
    it(`asks one that ${what} no more often than its interval`, async (t) => {
      const prepare = (remote: ScriptedFunction) => void Object.assign(remote, { holds: false, headers })
      const { remote, clock, next } = await watch(t, { prepare })
      await next()
      await next()
      assert.equal(remote.requests.length, 2)
      const waiting = next()
      await clock.advance(INTERVAL_MS - 1)
      assert.equal(remote.requests.length, 2)
      await clock.advance(1)
      await waiting
      assert.equal(remote.requests.length, 3)
    })
  }

  it('takes a wait that is cut on the way for no failure: it asks plainly, and for less from then on', async (t) => {
    const { remote, clock, next, last } = await watch(t)
    const first = await next()
    await clock.advance(600_000)
    let waiting = next()
    await remote.came(2)
    await clock.advance(INTERVAL_MS)
    remote.release()
    await waiting
    waiting = next()
    await remote.came(3)
    assert.match(last().url, /wait=25000ms$/)
    await clock.advance(16_000)
    remote.cut()
    assert.deepEqual(namesIn(await waiting), namesIn(first))
    assert.equal(last().url, '/v1/topologies/web/members')
    void next().catch(() => undefined)
    await clock.advance(INTERVAL_MS)
    await remote.came(5)
    assert.match(last().url, /wait=8000ms$/)
  })

  it('leaves one that fails alone for as long as it asks for', async (t) => {
    const refuse = () => ({ status: 503, code: 'no_answer_yet', headers: { 'Retry-After': '7' } })
    const { remote, clock, next } = await watch(t, { prepare: (remote) => void (remote.refuse = refuse) })
    const failed = await next()
    assert.equal(failed.outcome === 'failed' && failed.error.code, 'no_answer_yet')
    const waiting = next()
    await clock.advance(6_999)
    assert.equal(remote.requests.length, 1)
    remote.refuse = () => undefined
    await clock.advance(1)
    assert.equal((await waiting).outcome, 'complete')
  })
})

describe('a node that registers by its function', () => {
  it('gets the members in the same call, and waits for changes from there', async (t) => {
    const register = { ttl: '1m', meta: { zone: 'a' } }
    const { remote, next, last } = await watch(t, { register })
    assert.deepEqual(namesIn(await next()), [SELF, OTHER])
    assert.equal(remote.requests.length, 1)
    const { method, url, headers, body } = last()
    assert.deepEqual([method, url], ['PUT', '/v1/topologies/web/members/app%4010.0.0.1'])
    assert.equal(headers.prefer, 'return=representation')
    const address = { host: '10.0.0.1', port: 4370 }
    assert.deepEqual(body, { id: ID, ttlMs: 60_000, address, meta: { zone: 'a' } })
    void next().catch(() => undefined)
    await remote.came(2)
    assert.match(last().url, /wait=/)
  })

  it('renews soon after each third of what was granted, while it waits for a change', async (t) => {
    const { remote, clock, next, puts, last } = await watch(t, { register: true })
    await next()
    void next().catch(() => undefined)
    await remote.came(2)
    await clock.advance(11_999)
    assert.equal(puts().length, 1)
    await clock.advance(1)
    await remote.came(3)
    assert.deepEqual(last().body, { id: ID, address: { host: '10.0.0.1', port: 4370 } })
    assert.equal(last().headers.prefer, undefined, 'whoever waits hears of changes')
    await clock.advance(12_000)
    await remote.came(4)
    assert.equal(puts().length, 3)
  })

  it('goes on looking while it cannot be registered, says so once, and tries again sooner', async (t) => {
    const refuse: ScriptedFunction['refuse'] = ({ method }) =>
      method === 'PUT' ? { status: 503, code: 'store_unavailable' } : undefined
    const { remote, clock, log, next, puts } = await watch(t, {
      register: true,
      prepare: (remote) => void (remote.refuse = refuse),
    })
    assert.deepEqual(namesIn(await next()), [SELF, OTHER])
    void next().catch(() => undefined)
    await remote.came(3)
    await clock.advance(1_000)
    await remote.came(4)
    assert.equal(puts().length, 2)
    remote.refuse = () => undefined
    await clock.advance(2_000)
    await remote.came(5)
    await clock.advance(0)
    const warnings = log.lines.filter((line) => line.startsWith('warn'))
    assert.equal(warnings.length, 1, warnings.join('\n'))
    assert.match(warnings[0] ?? '', /could not be registered: .*503 store_unavailable/)
    assert.ok(log.lines.some((line) => line.includes('registered again')))
  })

  it('does not come back under the id with which it left', async (t) => {
    const { remote, clock, log, next, puts } = await watch(t, { register: true })
    await next()
    void next().catch(() => undefined)
    await remote.came(2)
    remote.refuse = ({ method }) => (method === 'PUT' ? { status: 409, code: 'left' } : undefined)
    await clock.advance(12_000)
    await remote.came(3)
    await clock.advance(60_000)
    assert.equal(puts().length, 2)
    assert.ok(log.lines.some((line) => /409 left.*start it again/.test(line)))
  })

  it('yields to another start of the node, says so, and comes back when that is gone', async (t) => {
    const prepare = (remote: ScriptedFunction) => void (remote.ttlMs = 3_000)
    const { remote, clock, log, next, puts } = await watch(t, { register: true, prepare })
    await next()
    const told = next()
    await remote.came(2)
    remote.list([{ ...up(SELF), id: 'another' }, up(OTHER)])
    await told
    const gone = next()
    await clock.advance(INTERVAL_MS)
    await remote.came(3)
    await clock.advance(4_000)
    assert.equal(puts().length, 1)
    assert.ok(log.lines.some((line) => line.includes(`another start of ${SELF}`)))
    remote.list([up(OTHER)])
    await gone
    await clock.advance(1_200)
    await remote.came(4)
    assert.equal(puts().length, 2)
  })

  it('leaves with its id, after what is under way, and says no more', async (t) => {
    const { remote, clock, next, leave, last, puts } = await watch(t, { register: true })
    await next()
    void next().catch(() => undefined)
    await remote.came(2)
    await leave()
    assert.deepEqual([last().method, last().url], ['DELETE', `/v1/topologies/web/members/app%4010.0.0.1?id=${ID}`])
    await clock.advance(60_000)
    assert.equal(puts().length, 1)
  })

  it('is the same start at each look without a watch, and nobody hears of one that is silent', async (t) => {
    const remote = await startFunction(t, [up(SELF)])
    const options = parseOptions('function', { url: remote.url, topology: 'web', register: true })
    const config = { id: 'function', kind: 'function', options }
    const common = { topology: 'web', intervalMs: INTERVAL_MS, self: SELF, log: createFakeLog() }
    const { signal } = new AbortController()
    for (const listenMs of [undefined, undefined, 1_000]) {
      const { look } = await openSource(config, { ...common, listenMs })
      assert.equal((await look(signal)).outcome, 'complete')
    }
    const { look } = await openSource(config, { ...common, self: undefined })
    await look(signal)
    assert.deepEqual(
      remote.requests.map(({ method, body }) => [method, body['id']]),
      [
        ['PUT', 'once'],
        ['PUT', 'once'],
        ['GET', undefined],
        ['GET', undefined],
      ],
    )
  })
})
