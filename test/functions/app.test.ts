import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { RollcallError } from '../../core/error.ts'
import { membersDocumentSchema, planDocumentSchema, problemSchema, topologiesDocumentSchema } from '../../core/wire.ts'
import { type AppOptions, createApp } from '../../functions/app.ts'
import { description, readiness } from '../../functions/host-routes.ts'
import openapi from '../../functions/public/openapi.json' with { type: 'json' }
import { complete, createClock, createMemoryLog, createScripted, failing, topologiesOf } from './scripted.ts'

const DOWN = failing(new RollcallError('dns_unreachable', '[dns] expected an answer, got none'))
const MEMBERS = '/v1/topologies/web/members'
const PLAN = '/v1/topologies/web/plan'

function setUp(options: Partial<AppOptions> & { patience?: number } = {}) {
  const clock = createClock()
  const log = createMemoryLog()
  const scripted = createScripted(complete('a@h', 'b@h'))
  const sources = [{ static: { nodes: [] } }]
  const app = createApp({
    topologies: topologiesOf({ web: { sources }, secretplan: { sources } }),
    auth: 'none',
    loaders: { static: async () => scripted.source },
    routes: { '/openapi.json': description },
    now: clock.now,
    log,
    ...options,
  })
  const post = (path: string, body: string, headers = {}) => app.request(path, { method: 'POST', body, headers })
  return { app, clock, log, scripted, post }
}

async function problemOf(response: Response): Promise<{ status: number; code: string; text: string }> {
  assert.equal(response.headers.get('content-type'), 'application/problem+json')
  assert.equal(response.headers.get('cache-control'), 'no-store')
  const text = await response.text()
  const { status, code, detail } = problemSchema.parse(JSON.parse(text))
  assert.equal(status, response.status)
  assert.match(detail, /^\[\w+\] expected /)
  return { status, code, text }
}

async function refusal(response: Response): Promise<[number, string]> {
  const { status, code } = await problemOf(response)
  return [status, code]
}

describe('the members of a topology', () => {
  it('come with a revision as ETag, their age, and no leave to be reused unasked', async () => {
    const { app, clock } = setUp()
    await app.request(MEMBERS)
    clock.pass(2_500)
    const response = await app.request(MEMBERS)
    assert.equal(response.status, 200)
    const document = membersDocumentSchema.parse(await response.json())
    assert.deepEqual(document, {
      topology: 'web',
      revision: document.revision,
      outcome: 'complete',
      ageMs: 2_500,
      stale: false,
      members: [
        { node: 'a@h', status: 'up' },
        { node: 'b@h', status: 'up' },
      ],
      sources: [{ source: 'static', outcome: 'complete', ageMs: 2_500 }],
    })
    const { headers } = response
    assert.equal(headers.get('etag'), `W/"${document.revision}"`)
    assert.deepEqual([headers.get('age'), headers.get('rollcall-age-ms')], ['2', '2500'])
    assert.equal(headers.get('cache-control'), 'private, no-cache')
    assert.equal(headers.get('access-control-allow-origin'), null)
  })

  it('are 304 while the revision is the caller’s, with an age that tells a new answer from an old one', async () => {
    const { app, clock, scripted } = setUp()
    const etag = (await app.request(MEMBERS)).headers.get('etag') ?? ''
    const again = (ifNoneMatch: string) => app.request(MEMBERS, { headers: { 'if-none-match': ifNoneMatch } })
    clock.pass(4_000)
    const early = await again(etag)
    assert.deepEqual([early.status, early.headers.get('rollcall-age-ms'), await early.text()], [304, '4000', ''])
    assert.equal(early.headers.get('etag'), etag)
    clock.pass(1_000)
    const late = await again(`"other", ${etag.slice(2)}`)
    assert.deepEqual([late.status, late.headers.get('rollcall-age-ms'), late.headers.get('age')], [304, '0', '0'])
    assert.equal((await again('*')).status, 304)
    assert.equal((await again('W/"other"')).status, 200)
    scripted.say(complete('a@h'))
    clock.pass(5_000)
    assert.equal((await again(etag)).status, 200)
  })

  it('are answered at once under ?wait, and say so', async () => {
    const { app } = setUp()
    const etag = (await app.request(MEMBERS)).headers.get('etag') ?? ''
    const response = await app.request(`${MEMBERS}?wait=25s`, { headers: { 'if-none-match': etag } })
    assert.deepEqual([response.status, response.headers.get('rollcall-wait')], [304, 'no'])
    assert.equal((await app.request(MEMBERS)).headers.get('rollcall-wait'), null)
  })

  it('are 503 with Retry-After while no source has ever answered, not an empty list', async () => {
    const { app, clock, scripted } = setUp()
    scripted.say(DOWN)
    const response = await app.request(MEMBERS)
    assert.equal(response.headers.get('retry-after'), '5')
    assert.deepEqual(await refusal(response), [503, 'no_answer_yet'])
    clock.pass(4_900)
    assert.equal((await app.request(MEMBERS)).headers.get('retry-after'), '1', 'whole seconds, never 0')
    scripted.say(complete())
    clock.pass(100)
    const empty = await app.request(MEMBERS)
    assert.deepEqual([empty.status, membersDocumentSchema.parse(await empty.json()).members], [200, []])
  })

  it('are the last answer, marked stale, while the source fails', async () => {
    const { app, clock, scripted } = setUp()
    await app.request(MEMBERS)
    scripted.say(DOWN)
    clock.pass(7_000)
    const response = await app.request(MEMBERS)
    const { stale, outcome, ageMs, members } = membersDocumentSchema.parse(await response.json())
    assert.deepEqual([stale, outcome, ageMs, members.length], [true, 'failed', 7_000, 2])
    assert.equal(response.headers.get('age'), '7')
  })

  it('cost one ask per interval for a thousand callers at once', async () => {
    const { app, clock, scripted } = setUp()
    for (const round of [1, 2, 3]) {
      const responses = await Promise.all(Array.from({ length: 1_000 }, async () => await app.request(MEMBERS)))
      assert.ok(responses.every(({ status }) => status === 200))
      assert.equal(scripted.asked(), round)
      clock.pass(5_000)
    }
  })
})

describe('a plan', () => {
  it('connects to every member and cuts nobody when the caller brings no state', async () => {
    const { post, scripted } = setUp()
    scripted.say(complete('a@h', 'b@h'))
    const response = await post(PLAN, JSON.stringify({ self: 'a@h', connected: ['x@h', 'y@h'] }))
    assert.equal(response.status, 200)
    assert.equal(response.headers.get('cache-control'), 'no-store')
    assert.equal(response.headers.get('rollcall-age-ms'), '0')
    const { connect, disconnect, leave } = planDocumentSchema.parse(await response.json())
    assert.deepEqual(
      connect.map(({ node, reason }) => [node, reason]),
      [['b@h', 'new']],
    )
    assert.deepEqual([disconnect, leave], [[], false])
  })

  it('takes out a node that the source left out for long enough, from the state that the caller carries', async () => {
    const { post, clock, scripted } = setUp()
    const everybody = ['a@h', 'b@h', 'c@h', 'd@h', 'e@h']
    const call = async (state?: object) => {
      const body = JSON.stringify({ self: 'a@h', connected: everybody.slice(1), state })
      return planDocumentSchema.parse(await (await post(PLAN, body)).json())
    }
    scripted.say(complete(...everybody))
    let answer = await call()
    scripted.say(complete(...everybody.slice(0, 4)))
    let rounds = 0
    while (answer.disconnect.length === 0 && rounds < 20) {
      clock.pass(5_000)
      answer = await call(answer.state)
      rounds++
    }
    assert.deepEqual(answer.disconnect, [{ node: 'e@h', reason: 'absent' }])
    assert.ok(rounds >= 12, `grace is a minute, got ${rounds} rounds of 5 s`)
  })

  it('cuts nobody for a source that fails, whatever the state says', async () => {
    const { post, clock, scripted } = setUp()
    const body = { self: 'a@h', connected: ['b@h'] }
    let { state } = planDocumentSchema.parse(await (await post(PLAN, JSON.stringify(body))).json())
    scripted.say(DOWN)
    for (let round = 0; round < 100; round++) {
      clock.pass(5_000)
      const answer = planDocumentSchema.parse(await (await post(PLAN, JSON.stringify({ ...body, state }))).json())
      assert.deepEqual([answer.disconnect, answer.leave], [[], false])
      state = answer.state
    }
  })

  it('starts anew with an event from the state of another node or version', async () => {
    const { post } = setUp()
    const own = planDocumentSchema.parse(await (await post(PLAN, '{"self":"a@h","connected":[]}')).json()).state
    for (const state of [
      { ...own, self: 'z@h' },
      { ...own, version: 2 },
    ]) {
      const response = await post(PLAN, JSON.stringify({ self: 'a@h', connected: [], state }))
      const { events } = planDocumentSchema.parse(await response.json())
      assert.ok(events.some(({ type }) => type === 'state_discarded'))
    }
  })

  it('says what is wrong with a body, and where in it', async () => {
    const { post } = setUp()
    const table: [object, RegExp][] = [
      [[], /got another body: expected a mapping$/],
      [{ connected: [] }, /: self: expected text$/],
      [{ self: 'a@h', connected: ['b@h', 'b'] }, /: connected\[1\]: expected a node name like /],
      [{ self: 'a@h', connected: Array(50_001).fill('a@h') }, /: connected: expected at most 50000 entries$/],
    ]
    for (const [body, detail] of table) {
      const said = (await (await post(PLAN, JSON.stringify(body))).json()) as { detail: string }
      assert.match(said.detail, detail)
    }
  })

  it('refuses bodies that are hostile or wrong, each with a problem of its own', async () => {
    const { app, post } = setUp()
    const good = { self: 'a@h', connected: [] }
    const own = planDocumentSchema.parse(await (await post(PLAN, JSON.stringify(good))).json()).state
    const deep = `${'['.repeat(1_000_000)}${']'.repeat(1_000_000)}`
    const table: [string, string, number, string][] = [
      ['nothing', '', 400, 'bad_body'],
      ['not JSON', '{"self":', 400, 'bad_body'],
      ['not UTF-8 JSON', '\u0000', 400, 'bad_body'],
      ['null', 'null', 400, 'bad_body'],
      ['a list', '[]', 400, 'bad_body'],
      ['deep JSON', deep, 400, 'bad_body'],
      ['5 MB', JSON.stringify({ ...good, pad: 'x'.repeat(5 * 1024 * 1024) }), 413, 'body_too_large'],
      ['no self', '{"connected":[]}', 400, 'bad_body'],
      ['a name with a newline', JSON.stringify({ ...good, self: 'a@h\nb@h' }), 400, 'bad_body'],
      ['a link with a newline', JSON.stringify({ ...good, connected: ['a@h\r\n'] }), 400, 'bad_body'],
      ['a long name', JSON.stringify({ ...good, self: `${'a'.repeat(300)}@h` }), 400, 'bad_body'],
      [
        'too many links',
        JSON.stringify({ ...good, connected: Array.from({ length: 50_001 }, () => 'a@h') }),
        400,
        'bad_body',
      ],
      ['a state that is text', JSON.stringify({ ...good, state: 'x' }), 400, 'bad_body'],
      ['a state of nothing', JSON.stringify({ ...good, state: {} }), 400, 'bad_state'],
      ['a state of rubbish', JSON.stringify({ ...good, state: { ...own, peers: { x: 1 } } }), 400, 'bad_state'],
      ['a deep state', `{"self":"a@h","connected":[],"state":{"version":1,"peers":${deep}}}`, 400, 'bad_state'],
      [
        'endless numbers',
        JSON.stringify({ ...good, state: own }).replace(/"clock":\d+/, '"clock":1e999'),
        400,
        'bad_state',
      ],
    ]
    for (const [name, body, status, code] of table) {
      assert.deepEqual(await refusal(await post(PLAN, body)), [status, code], name)
    }
    const broken = new ReadableStream({
      pull(controller) {
        controller.error(new Error('ECONNRESET'))
      },
    })
    const request = new Request(`http://localhost${PLAN}`, { method: 'POST', body: broken, duplex: 'half' })
    assert.deepEqual(await refusal(await app.request(request)), [400, 'bad_body'])
    const declared = await post(PLAN, 'x', { 'content-length': String(5 * 1024 * 1024) })
    assert.deepEqual(await refusal(declared), [413, 'body_too_large'])
  })

  it('survives a state of the right shape with every number in it made absurd', async () => {
    const { post } = setUp()
    const good = { self: 'a@h', connected: ['c@h'] }
    const { state } = planDocumentSchema.parse(await (await post(PLAN, JSON.stringify(good))).json())
    const postWith = async (number: string) => {
      const text = JSON.stringify(state).replace(/:\d+([,}])/g, (whole, end) =>
        whole === ':1,' ? whole : `:${number}${end}`,
      )
      return await post(PLAN, `{"self":"a@h","connected":["c@h"],"state":${text}}`)
    }
    for (const number of ['1e308', '-1e308', '9007199254740993']) {
      assert.deepEqual(await refusal(await postWith(number)), [400, 'bad_state'], number)
    }
    for (const number of ['-1', '0', '0.5', '8.6e15', '-8.6e15']) {
      const response = await postWith(number)
      assert.equal(response.status, 200, number)
      assert.deepEqual(planDocumentSchema.parse(await response.json()).disconnect, [], number)
    }
  })
})

describe('a plan request that was tampered with', () => {
  const anything = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom(-1, 0, 1e308, '__proto__', 'constructor', 'a@h', [], {}, [['a@h']]),
  )

  it('is answered or refused, whatever stands in one place of it', async () => {
    const { post, clock, scripted } = setUp()
    const body = { self: 'a@h', connected: ['c@h'] }
    const first = planDocumentSchema.parse(await (await post(PLAN, JSON.stringify(body))).json())
    scripted.say(complete('a@h', 'b@h', { node: 'd@h', status: 'leaving', id: '1' }))
    clock.pass(5_000)
    const { state } = planDocumentSchema.parse(
      await (await post(PLAN, JSON.stringify({ ...body, state: first.state }))).json(),
    )
    const places = placesIn({ ...body, state })
    assert.ok(places.length > 30, 'a state with something in it')
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...places), anything, async (place, value) => {
        const response = await post(PLAN, JSON.stringify(replaced({ ...body, state }, place, value)))
        assert.ok([200, 400].includes(response.status), `${response.status} ${await response.text()}`)
      }),
      { numRuns: 500 },
    )
  })

  function placesIn(value: unknown): string[][] {
    if (typeof value !== 'object' || value === null) return []
    return Object.entries(value).flatMap(([key, part]) => [[key], ...placesIn(part).map((place) => [key, ...place])])
  }

  function replaced(value: unknown, [key, ...rest]: string[], replacement: unknown): unknown {
    if (key === undefined) return replacement
    const copy = structuredClone(value) as Record<string, unknown>
    copy[key] = replaced(copy[key], rest, replacement)
    return copy
  }
})

describe('who may call', () => {
  const tokens = { reader: 'reader-token', planner: 'planner-token' }
  const auth = [
    { name: 'reader', verbs: ['read' as const], topologies: ['web'], nodes: '*' },
    { name: 'planner', verbs: ['plan' as const], topologies: ['web', 'gone'], nodes: 'app@*' },
  ].map((entry) => ({
    ...entry,
    sha256: createHash('sha256').update(`${entry.name}-token`).digest('hex'),
  }))
  const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

  it('is decided by verb, topology and node pattern, without a word on what else there is', async () => {
    const { app, post, scripted } = setUp({ auth })
    const get = (path: string, token?: string) =>
      app.request(path, token === undefined ? {} : { headers: bearer(token) })
    const plan = (self: string, token: string, path = PLAN) =>
      post(path, JSON.stringify({ self, connected: [] }), bearer(token))
    assert.equal((await get(MEMBERS, tokens.reader)).status, 200)
    assert.equal((await plan('app@h', tokens.planner)).status, 200)
    const asked = scripted.asked()
    const table: [Promise<Response> | Response, number, string][] = [
      [get(MEMBERS), 401, 'unauthenticated'],
      [get(MEMBERS, 'guess'), 401, 'unauthenticated'],
      [get('/v1/topologies'), 401, 'unauthenticated'],
      [get('/v1/topologies/nope/members'), 401, 'unauthenticated'],
      [post(PLAN, '{}'), 401, 'unauthenticated'],
      [get(MEMBERS, tokens.planner), 403, 'verb_forbidden'],
      [get('/v1/topologies', tokens.planner), 403, 'verb_forbidden'],
      [plan('app@h', tokens.reader), 403, 'verb_forbidden'],
      [plan('db@h', tokens.planner), 403, 'node_forbidden'],
      [get('/v1/topologies/secretplan/members', tokens.reader), 403, 'topology_forbidden'],
      [get('/v1/topologies/nope/members', tokens.reader), 403, 'topology_forbidden'],
      [plan('app@h', tokens.planner, '/v1/topologies/gone/plan'), 404, 'unknown_topology'],
    ]
    for (const [index, [response, status, code]] of table.entries()) {
      const answer = await response
      assert.equal(answer.headers.get('www-authenticate'), status === 401 ? 'Bearer realm="rollcall"' : null)
      const found = await problemOf(answer)
      assert.deepEqual([found.status, found.code], [status, code], `row ${index}`)
      assert.doesNotMatch(found.text, /secretplan/)
    }
    assert.equal(scripted.asked(), asked, 'nobody who may not is worth a question')
  })

  it('shows a token its own topologies only', async () => {
    const { app } = setUp({ auth })
    const response = await app.request('/v1/topologies', { headers: bearer(tokens.reader) })
    assert.deepEqual(topologiesDocumentSchema.parse(await response.json()), {
      topologies: [{ topology: 'web', sources: [{ source: 'static' }] }],
    })
  })

  it('is nobody when the config does not say', async () => {
    const { app, post } = setUp({ auth: undefined })
    assert.deepEqual(await refusal(await app.request(MEMBERS)), [503, 'auth_not_configured'])
    assert.deepEqual(await refusal(await app.request('/v1/topologies')), [503, 'auth_not_configured'])
    assert.deepEqual(await refusal(await post(PLAN, '{}')), [503, 'auth_not_configured'])
  })

  it('is everybody for health, readiness and the description, which tell no names', async () => {
    for (const auth of [undefined, []]) {
      const { app } = setUp({ auth, routes: { '/openapi.json': description, '/readyz': readiness } })
      for (const path of ['/healthz', '/readyz', '/openapi.json']) {
        const response = await app.request(path)
        assert.equal(response.status, 200, path)
        assert.doesNotMatch(await response.text(), /secretplan|a@h/)
      }
    }
  })
})

describe('the app', () => {
  it('lists topologies with the last outcome of each source, and asks none for it', async () => {
    const { app, scripted } = setUp()
    await app.request(MEMBERS)
    const response = await app.request('/v1/topologies')
    assert.deepEqual(topologiesDocumentSchema.parse(await response.json()), {
      topologies: [
        { topology: 'web', sources: [{ source: 'static', outcome: 'complete' }] },
        { topology: 'secretplan', sources: [{ source: 'static' }] },
      ],
    })
    assert.equal(scripted.asked(), 1)
  })

  it('is ready when every source has answered, and not there to be asked on a host that cannot say', async () => {
    const { app, clock, scripted } = setUp({ routes: { '/readyz': readiness } })
    scripted.say(DOWN)
    assert.deepEqual(await refusal(await app.request('/readyz')), [503, 'not_ready'])
    scripted.say(complete())
    clock.pass(5_000)
    assert.equal((await app.request('/readyz')).status, 200)
    assert.deepEqual(await refusal(await setUp().app.request('/readyz')), [404, 'not_found'])
  })

  it('serves its description', async () => {
    const response = await setUp().app.request('/openapi.json')
    assert.equal(response.headers.get('content-type'), 'application/json')
    assert.deepEqual(await response.json(), openapi)
  })

  it('answers what it does not know with a problem', async () => {
    const { app, post } = setUp()
    assert.deepEqual(await refusal(await app.request('/nope')), [404, 'not_found'])
    assert.deepEqual(await refusal(await app.request('/v1/topologies/nope/members')), [404, 'unknown_topology'])
    assert.deepEqual(await refusal(await app.request('/v1/topologies/__proto__/members')), [404, 'unknown_topology'])
    assert.deepEqual(await refusal(await app.request('/v1/topologies/%E0%A4%A/members')), [404, 'unknown_topology'])
    const wrong = await post(MEMBERS, '')
    assert.equal(wrong.headers.get('allow'), 'GET')
    assert.deepEqual(await refusal(wrong), [405, 'method_not_allowed'])
    const preflight = await app.request(PLAN, { method: 'OPTIONS', headers: { origin: 'https://evil.test' } })
    assert.equal(preflight.headers.get('access-control-allow-origin'), null)
    assert.deepEqual(await refusal(preflight), [405, 'method_not_allowed'])
  })

  it('answers HEAD as GET without a body', async () => {
    const response = await setUp().app.request(MEMBERS, { method: 'HEAD' })
    assert.deepEqual([response.status, await response.text()], [200, ''])
    assert.ok(response.headers.get('etag'))
  })

  it('names every request, by the caller’s id where it is a harmless one, and logs one line for it', async () => {
    const { app, log } = setUp()
    const own = await app.request('/healthz', { headers: { 'x-request-id': 'ci-42' } })
    assert.equal(own.headers.get('x-request-id'), 'ci-42')
    const odd = await app.request(`/${'x'.repeat(2_000)}`, { headers: { 'x-request-id': 'a b"c' } })
    assert.match(odd.headers.get('x-request-id') ?? '', /^[0-9a-f-]{36}$/)
    const [first, second, ...rest] = log.lines
    assert.deepEqual(first, {
      level: 'info',
      message: 'request',
      fields: { id: 'ci-42', method: 'GET', path: '/healthz', status: 200, ms: 0 },
    })
    assert.deepEqual([second?.level, second?.fields.status, String(second?.fields.path).length], ['warn', 404, 256])
    assert.deepEqual(rest, [])
  })

  it('says nothing of an error that was not made for callers, and logs it', async () => {
    const { app, log } = setUp({
      admit: () => {
        throw new Error('the password is hunter2')
      },
    })
    const { status, code, text } = await problemOf(await app.request('/healthz'))
    assert.deepEqual([status, code], [500, 'internal'])
    assert.doesNotMatch(text, /hunter2/)
    assert.ok(log.lines.some(({ fields }) => fields.err instanceof Error && fields.err.message.includes('hunter2')))
  })

  it('refuses at the start what it could never serve', () => {
    const served = (sources: object[]) => () => setUp({ topologies: topologiesOf({ web: { sources } }) })
    const loaders = { static: async () => createScripted(DOWN).source, dns: async () => createScripted(DOWN).source }
    assert.throws(served([{ exec: { command: ['ls'] } }]), { code: 'config', message: /source exec.*\(static\)/ })
    const nameless = () =>
      setUp({ loaders, topologies: topologiesOf({ web: { sources: [{ dns: { query: 'x.test' } }] } }) })
    assert.throws(nameless, { code: 'config', message: /expected basename/ })
  })

  it('lets a host keep alive the asks that outlive an answer', async () => {
    const { app } = setUp()
    const kept: Promise<void>[] = []
    await app.request(MEMBERS, {}, { waitUntil: (ask: Promise<void>) => kept.push(ask) })
    assert.equal(kept.length, 1)
  })
})
