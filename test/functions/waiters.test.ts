import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type ClientRequest, request } from 'node:http'
import { describe, it, type TestContext } from 'node:test'
import { RollcallError } from '../../core/error.ts'
import { createApp } from '../../functions/app.ts'
import { serve } from '../../functions/node.ts'
import { openMemoryStore } from '../../functions/stores/memory.ts'
import { parseConfig } from '../../core/config.ts'
import { complete, createClock, createMemoryLog, createScripted, failing, topologiesOf } from './scripted.ts'

const MEMBERS = '/v1/topologies/web/members'

/** An app whose callers may wait, with time that the test moves: that of its clock and of its timers together. */
function setUp(t: TestContext, { policy = {}, interval = '5s' }: { policy?: object; interval?: string } = {}) {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const clock = createClock()
  const scripted = createScripted(complete('s@h'))
  const ending = new AbortController()
  const app = createApp({
    topologies: topologiesOf({ web: { interval, sources: [{ static: { nodes: [] } }, { registry: {} }], policy } }),
    auth: 'none',
    loaders: { static: async () => scripted.source },
    stores: { memory: openMemoryStore },
    waits: ending.signal,
    now: clock.now,
    log: createMemoryLog(),
  })

  async function etag(): Promise<string> {
    return (await app.request(MEMBERS)).headers.get('etag') ?? ''
  }

  /** Begins to wait, and comes back once it does: an answer that is there at once would have come by then. */
  async function wait(known: string, init: RequestInit & { wait?: string } = {}) {
    const { wait: ms = '25s', ...rest } = init
    let isDone = false
    const response = Promise.resolve(
      app.request(`${MEMBERS}?wait=${ms}`, { headers: { 'if-none-match': known }, ...rest }),
    ).then((answer) => {
      isDone = true
      return answer
    })
    await settled()
    return { response, isDone: () => isDone }
  }

  async function pass(ms: number): Promise<void> {
    clock.pass(ms)
    t.mock.timers.tick(ms)
    await settled()
  }

  return { app, scripted, ending, etag, wait, pass }
}

/** Everything that needs no time has happened. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) {
    await new Promise((resolve) => {
      setImmediate(resolve)
    })
  }
}

describe('who waits for a change', () => {
  it('is answered when somebody registers, and not before', async (t) => {
    const { app, etag, wait } = setUp(t)
    const known = await etag()
    const waiting = await wait(known)
    assert.equal(waiting.isDone(), false)
    await app.request(`${MEMBERS}/a@h`, { method: 'PUT', body: '{"id":"1"}' })
    const response = await waiting.response
    assert.deepEqual([response.status, response.headers.get('rollcall-wait')], [200, null])
    assert.notEqual(response.headers.get('etag'), known)
  })

  it('is answered when a source says something else at its interval, for it goes on being asked', async (t) => {
    const { scripted, etag, wait, pass } = setUp(t)
    const waiting = await wait(await etag())
    const before = scripted.asked()
    await pass(5_000)
    await pass(5_000)
    assert.deepEqual([scripted.asked(), waiting.isDone()], [before + 2, false])
    scripted.say(failing(new RollcallError('down', '[test] expected an answer, got none')))
    await pass(5_000)
    const response = await waiting.response
    assert.deepEqual([response.status, response.headers.get('rollcall-age-ms')], [200, '5000'])
    await pass(60_000)
    assert.equal(scripted.asked(), before + 3, 'nobody waits, nobody asks')
  })

  it('is answered 304 after its time, at most 30 s, with the age of then', async (t) => {
    const { etag, wait, pass } = setUp(t, { interval: 'never' })
    const known = await etag()
    const [short, long] = [await wait(known, { wait: '2s' }), await wait(known, { wait: '10h' })]
    await pass(2_000)
    const response = await short.response
    assert.deepEqual([response.status, response.headers.get('rollcall-age-ms')], [304, '2000'])
    assert.equal(long.isDone(), false)
    await pass(28_000)
    assert.equal((await long.response).status, 304)
  })

  it('is answered at once without a revision, with an old one, and where as many wait as may', async (t) => {
    const { app, etag, wait } = setUp(t, { policy: { maxMembers: 2 } })
    assert.equal((await app.request(`${MEMBERS}?wait=25s`)).status, 200)
    const known = await etag()
    assert.equal((await (await wait('W/"old"')).response).status, 200)
    const first = [await wait(known), await wait(known)]
    const third = await (await wait(known)).response
    assert.deepEqual([third.status, third.headers.get('rollcall-wait')], [304, 'no'])
    assert.deepEqual(
      first.map(({ isDone }) => isDone()),
      [false, false],
    )
  })

  it('leaves its place when it is gone, and all are answered when the host ends', async (t) => {
    const { etag, wait, ending, scripted, pass } = setUp(t, { policy: { maxMembers: 1 } })
    const known = await etag()
    const gone = new AbortController()
    const first = await wait(known, { signal: gone.signal })
    gone.abort()
    assert.equal((await first.response).status, 304)
    const asked = scripted.asked()
    await pass(60_000)
    assert.equal(scripted.asked(), asked, 'nobody is asked for who is gone')
    const second = await wait(await etag())
    assert.equal(second.isDone(), false)
    ending.abort()
    assert.equal((await second.response).status, 304)
    const third = await (await wait(await etag())).response
    assert.equal(third.headers.get('rollcall-wait'), 'no')
  })

  it('is woken by a thousand others and with them, each once', async (t) => {
    const { app, etag, wait } = setUp(t)
    const known = await etag()
    const waiting = await Promise.all(Array.from({ length: 1_000 }, () => wait(known)))
    await app.request(`${MEMBERS}/a@h`, { method: 'PUT', body: '{"id":"1"}' })
    const responses = await Promise.all(waiting.map(({ response }) => response))
    assert.ok(responses.every(({ status }) => status === 200))
    assert.equal(new Set(responses.map(({ headers }) => headers.get('etag'))).size, 1)
  })
})

describe('a server with callers that wait', () => {
  const config = parseConfig({ topologies: { web: { sources: [{ registry: {} }] } } }, { file: 'test', env: {} })

  /** Asks to wait, and comes back once the server has the request: it answers what is expected of it before anything else. */
  async function waitAt(url: string): Promise<ClientRequest> {
    const known = (await fetch(url + MEMBERS)).headers.get('etag') ?? ''
    const headers = { 'if-none-match': known, expect: '100-continue' }
    const sent = request(`${url}${MEMBERS}?wait=30s`, { headers, agent: false })
    sent.end()
    await once(sent, 'continue')
    return sent
  }

  it('answers them when it is closed, and ends without waiting for them', { timeout: 20_000 }, async () => {
    const { url, close } = await serve({ config, log: createMemoryLog(), port: 0 })
    const sent = await waitAt(url)
    const answered = once(sent, 'response')
    await close()
    // Were it to wait, the connection would be cut after 5 s, without an answer.
    const [response] = await answered
    assert.equal(response.statusCode, 304)
  })

  it('ends the wait of a caller that went away', { timeout: 20_000 }, async (t) => {
    const log = createMemoryLog()
    const { url, close } = await serve({ config, log, port: 0 })
    t.after(close)
    const sent = await waitAt(url)
    const refused = once(sent, 'error')
    sent.destroy(new Error('gone'))
    await refused
    const ended = () => log.lines.some(({ message, fields }) => message === 'request' && fields['status'] === 304)
    while (!ended()) await fetch(`${url}/healthz`)
  })
})
