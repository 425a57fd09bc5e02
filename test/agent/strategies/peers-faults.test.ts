import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import type { RequestListener } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { buffer } from 'node:stream/consumers'
import { decode, encode } from 'dns-packet'
import { createAgent } from '../../../agent/agent.ts'
import { strategies } from '../../../agent/strategies/index.ts'
import { parseConfig, type SourceConfig } from '../../../core/config.ts'
import { observe, type Source } from '../../../functions/resolvers/source.ts'
import { BAD_BODIES, flooding, serveLoopback } from '../../contract/loopback.ts'
import { createFakeLog, createFakeMesh } from '../fakes.ts'
import { createManualClock } from '../manual-clock.ts'
import { openVoice } from './gossip-voice.ts'

// What a source of libcluster, gen_cluster or dns_cluster does at the same answer was measured or read in their code; see docs/migrating.md.

const SELF = 'app@10.0.0.1'
const [B, C] = ['app@10.0.0.2', 'app@10.0.0.3'] as const
const HOSTS = ['10.0.0.1', '10.0.0.2', '10.0.0.3']
const STEP_MS = 10_000

/** A place that knows nodes, and can be made to say something else. */
interface Place {
  readonly kind: string
  readonly options: Record<string, unknown>
  say(what: Saying): Promise<void>
}

/** The hosts that it lists, or how else it answers: a body of any status, an answer of its own, or none at all. */
type Saying =
  | { hosts: readonly string[]; odd?: boolean }
  | { status?: number; body: string }
  | { handle: RequestListener }
  | 'gone'

type Opens = (t: TestContext) => Promise<Place>

const json = (value: unknown) => JSON.stringify(value)

/** A place that is asked over HTTP; `listing` makes the body of an answer that lists these hosts, and one odd entry if wanted. */
function http(
  kind: string,
  {
    options = {},
    headers = {},
    listing,
  }: {
    options?: object
    headers?: Record<string, string>
    listing: (hosts: readonly string[], odd: boolean) => string
  },
): Opens {
  return async (t) => {
    let saying: Saying = { hosts: HOSTS }
    const { url } = await serveLoopback(t, (request, response) => {
      if (saying === 'gone') return void request.socket.destroy()
      if ('handle' in saying) return saying.handle(request, response)
      if ('body' in saying) return void response.writeHead(saying.status ?? 200).end(saying.body)
      response.writeHead(200, { 'Content-Type': 'application/json', ...headers })
      response.end(listing(saying.hosts, saying.odd ?? false))
    })
    const address = kind === 'kubernetes' ? { server: url } : { url }
    return {
      kind,
      options: { ...address, ...options },
      async say(next) {
        saying = next
      },
    }
  }
}

const rancher = http('rancher', {
  listing: (hosts, odd) =>
    json({
      name: 'web',
      containers: [
        ...hosts.map((host) => ({ name: `web-${host}`, uuid: host, state: 'running', ips: [host] })),
        ...(odd ? [{ name: 'web-odd', uuid: 'odd', state: 'running', ips: ['no address'] }] : []),
      ],
    }),
})

const kubernetes = http('kubernetes', {
  options: { service: 'web', namespace: 'default', watch: false },
  listing: (hosts, odd) =>
    json({
      kind: 'EndpointSliceList',
      apiVersion: 'discovery.k8s.io/v1',
      metadata: { resourceVersion: '7' },
      items:
        hosts.length === 0
          ? []
          : [
              {
                metadata: { name: 'web-1', namespace: 'default', uid: 'u', resourceVersion: '7' },
                addressType: 'IPv4',
                endpoints: [
                  ...hosts.map((host) => ({ addresses: [host], conditions: { ready: true } })),
                  ...(odd ? [{ addresses: ['no address'], conditions: { ready: true } }] : []),
                ],
              },
            ],
    }),
})

const consul = http('consul', {
  options: { service: 'web', watch: false },
  headers: { 'X-Consul-Index': '7' },
  listing: (hosts, odd) =>
    json([
      ...hosts.map((host) => ({
        Node: { Node: 'n', Address: host },
        Service: { ID: host, Service: 'web', Address: host },
        Checks: [],
      })),
      ...(odd ? [{ Node: { Node: 'n' }, Service: 5 }] : []),
    ]),
})

const rollcall = http('function', {
  listing: (hosts, odd) =>
    json({
      topology: 'web',
      // Each answer is news, as that of a function whose source was asked again.
      revision: `r${hosts.join()}${odd}`,
      outcome: 'complete',
      ageMs: 0,
      stale: false,
      members: [
        ...hosts.map((host) => ({ node: `app@${host}`, status: 'up' })),
        ...(odd ? [{ node: 'app@', status: 'up' }] : []),
      ],
      sources: [{ source: 'dns', outcome: 'complete', ageMs: 0 }],
    }),
})

/** A resolver over HTTP: what it is told to say with another status or body is no DNS, so a failing DNS has an answer of its own. */
const dns: Opens = async (t) => {
  let saying: Saying = { hosts: HOSTS }
  const { url } = await serveLoopback(t, (request, response) => {
    if (saying === 'gone') return void request.socket.destroy()
    if ('handle' in saying) return saying.handle(request, response)
    if ('body' in saying) return void response.writeHead(saying.status ?? 200).end(saying.body)
    const { hosts, odd } = saying
    const targets = odd ? [...hosts.map(hostname), `${'x'.repeat(63)}.`.repeat(4).slice(0, 252)] : hosts.map(hostname)
    answerDns(targets)(request, response)
  })
  return {
    kind: 'dns',
    options: { query: 'web.test', types: ['SRV'], server: url },
    async say(next) {
      saying = next
    },
  }
}

const hostname = (host: string) => `h${host.replaceAll('.', '-')}.test`

/** Answers a question with these targets, and with this response code. */
function answerDns(targets: readonly string[], rcode = 0): RequestListener {
  return (request, response) => {
    void (async () => {
      const { id = 0, questions = [] } = decode(await buffer(request))
      const name = questions[0]?.name ?? ''
      const answers = targets.map((target) => ({ type: 'SRV' as const, name, data: { target, port: 4369 } }))
      response.setHeader('Content-Type', 'application/dns-message')
      response.end(encode({ type: 'response', id, flags: 0x0480 | rcode, questions, answers }))
    })()
  }
}

/** A program that prints a file. */
const exec: Opens = async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'rollcall-faults-'))
  t.after(() => rm(folder, { recursive: true }))
  const file = join(folder, 'nodes')
  const say = async (saying: Saying) => {
    if (saying === 'gone') await rm(file)
    else if ('hosts' in saying)
      await writeFile(file, json([...saying.hosts.map((host) => `app@${host}`), ...(saying.odd ? ['app@'] : [])]))
    else if ('body' in saying) await writeFile(file, saying.body)
  }
  await say({ hosts: HOSTS })
  return { kind: 'exec', options: { command: ['cat', file] }, say }
}

/** An agent whose one source asks the place, on a clock of the test and a real network. Its mesh has formed. */
async function setUp(t: TestContext, opens: Opens) {
  const place = await opens(t)
  const { kind, options } = place
  const names = kind === 'dns' ? HOSTS.map((host) => `app@${hostname(host)}`) : [SELF, B, C]
  const [self = '', ...others] = names
  const raw = { node: self, topologies: { web: { interval: '5s', sources: [{ [kind]: options }] } } }
  const clock = createManualClock({ random: () => 0.5 })
  const log = createFakeLog()
  const mesh = createFakeMesh(self)
  const underWay = new Set<symbol>()

  /** The real source, polled; while it looks, time stands still, for the network is not on this clock. */
  async function loadSource(config: SourceConfig): Promise<Source<unknown>> {
    const source = await strategies[config.kind]?.()
    assert.ok(source)
    return {
      options: source.options,
      async look(given, context) {
        const one = Symbol('look')
        underWay.add(one)
        try {
          return await observe(source, given, context)
        } finally {
          underWay.delete(one)
        }
      },
    }
  }

  const agent = createAgent(parseConfig(raw, { file: 'rollcall.yaml', env: {} }), {
    log,
    clock,
    distribution: mesh,
    loadSource,
  })
  t.after(() => agent.stop())
  const events: string[] = []
  agent.on('*', ({ type }) => void events.push(type))

  async function pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += STEP_MS) {
      await clock.advance(STEP_MS)
      while (underWay.size > 0) await turn()
    }
    await clock.advance(0)
  }

  await agent.start()
  while (underWay.size > 0) await turn()
  await pass(STEP_MS)
  assert.deepEqual([...mesh.links].sort(), others)

  return {
    place,
    pass,
    events,
    lines: log.lines,
    links: () => [...mesh.links],
    /** Nobody was cut, and everybody is still meant to be linked. */
    assertWhole: () => {
      assert.deepEqual([...mesh.links].sort(), others)
      assert.deepEqual(
        mesh.calls.filter((call) => call.startsWith('disconnect') || call === 'leave'),
        [],
      )
      assert.deepEqual([agent.plan()?.disconnect, agent.plan()?.leave], [[], false])
    },
    report: () => agent.plan()?.topologies.web?.sources[kind],
  }
}

const places: [string, Opens][] = [
  ['dns', dns],
  ['rancher', rancher],
  ['kubernetes', kubernetes],
  ['consul', consul],
  ['function', rollcall],
  ['exec', exec],
]

const DISCONNECTS = 'libcluster: disconnects everybody'
const nobody: Saying = { hosts: [] }
const oneOdd: Saying = { hosts: HOSTS, odd: true }
const refuses = (status: number): Saying => ({
  status,
  body: json({ kind: 'Status', status: 'Failure', message: 'no', code: status }),
})

const faults: [place: string, opens: Opens, fault: string, saying: Saying, elsewhere: string, expected: string][] = [
  ['dns', dns, 'SERVFAIL', { handle: answerDns([], 2) }, DISCONNECTS, 'failed dns_servfail'],
  ['dns', dns, 'REFUSED', { handle: answerDns([], 5) }, DISCONNECTS, 'failed dns_refused'],
  ['dns', dns, 'a resolver that is gone', 'gone', DISCONNECTS, 'failed'],
  ['dns', dns, 'NXDOMAIN', { handle: answerDns([], 3) }, DISCONNECTS, 'complete doubted'],
  ['dns', dns, 'no records', nobody, DISCONNECTS, 'complete doubted'],
  ['dns', dns, 'one bad record', oneOdd, 'no counterpart', 'partial'],
  ['rancher', rancher, 'a 500', refuses(500), DISCONNECTS, 'failed http_500'],
  ['rancher', rancher, 'a 404', refuses(404), DISCONNECTS, 'failed http_404'],
  ['rancher', rancher, 'a service that is gone', 'gone', DISCONNECTS, 'failed unreachable'],
  ['rancher', rancher, 'an empty list', { body: '[]' }, DISCONNECTS, 'failed no_service'],
  ['rancher', rancher, 'no containers', nobody, DISCONNECTS, 'complete doubted'],
  ['rancher', rancher, 'no word of containers', { body: '{}' }, DISCONNECTS, 'failed bad_answer'],
  ['rancher', rancher, 'one bad container', oneOdd, 'libcluster: crashes', 'partial'],
  ['kubernetes', kubernetes, 'a 403', refuses(403), DISCONNECTS, 'failed http_403'],
  ['kubernetes', kubernetes, 'a 401', refuses(401), 'libcluster: keeps them', 'failed http_401'],
  ['kubernetes', kubernetes, 'a 500', refuses(500), 'libcluster: keeps them', 'failed http_500'],
  ['kubernetes', kubernetes, 'a server that is gone', 'gone', 'libcluster: keeps them', 'failed unreachable'],
  ['kubernetes', kubernetes, 'an empty list', nobody, DISCONNECTS, 'complete doubted'],
  ['kubernetes', kubernetes, 'no JSON', { body: '<html>' }, 'libcluster: crashes', 'failed bad_answer'],
  ['kubernetes', kubernetes, 'one bad endpoint', oneOdd, 'libcluster: crashes', 'partial'],
  ['consul', consul, 'a 500', refuses(500), 'libcluster_consul: disconnects everybody', 'failed http_500'],
  ['consul', consul, 'an agent that is gone', 'gone', 'libcluster_consul: disconnects everybody', 'failed unreachable'],
  ['consul', consul, 'an empty list', nobody, 'libcluster_consul: disconnects everybody', 'complete doubted'],
  ['consul', consul, 'one bad instance', oneOdd, 'no counterpart', 'partial'],
  ['function', rollcall, 'a 503', refuses(503), 'no counterpart', 'failed http_503'],
  ['function', rollcall, 'a function that is gone', 'gone', 'no counterpart', 'failed unreachable'],
  ['function', rollcall, 'an empty list', nobody, 'no counterpart', 'complete doubted'],
  ['function', rollcall, 'one bad member', oneOdd, 'no counterpart', 'partial'],
  ['exec', exec, 'an exit of 1', 'gone', 'no counterpart', 'failed program_failed'],
  ['exec', exec, 'an empty list', nobody, 'no counterpart', 'complete doubted'],
  ['exec', exec, 'one bad line', oneOdd, 'no counterpart', 'partial'],
]

describe('a fault of a source cuts nobody for as long as it lasts, and is told', () => {
  for (const [place, opens, fault, saying, elsewhere, expected] of faults) {
    it(`${place}: ${fault} (${elsewhere})`, { timeout: 60_000 }, async (t) => {
      const { place: asked, pass, report, assertWhole, lines } = await setUp(t, opens)
      await asked.say(saying)
      // Far beyond grace (1 min) and confirm (5 min).
      await pass(15 * 60_000)
      assertWhole()
      const { outcome, error, doubted } = report() ?? {}
      const got = [outcome, error?.code, doubted && 'doubted'].filter(Boolean).join(' ')
      assert.ok(got.startsWith(expected), `expected ${expected}, got ${got}`)
      const told = lines.filter((line) => line.startsWith('warn'))
      if (outcome === 'failed') assert.match(told.join('\n'), /warn source_failed/)
      if (doubted) assert.match(told.join('\n'), /warn source_doubted/)
      await asked.say({ hosts: HOSTS })
      await pass(60_000)
      assertWhole()
      assert.equal(report()?.outcome, 'complete')
    })
  }
})

describe('what is no fault still counts', () => {
  for (const [name, opens] of places) {
    it(`${name}: a node that it leaves out, and no other, is cut`, { timeout: 60_000 }, async (t) => {
      const { place, pass, links } = await setUp(t, opens)
      await place.say({ hosts: HOSTS.slice(0, 2) })
      await pass(15 * 60_000)
      assert.deepEqual(links().length, 1)
    })
  }
})

describe('whatever bad comes from outside, nothing throws out of the agent, and nobody is cut', () => {
  const wrongTypes = {
    kind: 7,
    metadata: [],
    items: {},
    containers: 7,
    members: {},
    sources: 5,
    revision: [],
    endpoints: '',
  }
  const bodies: Record<string, string> = {
    ...BAD_BODIES,
    'a mapping of wrong types': json(wrongTypes),
    'NUL bytes in names': json(['app@10.0.0.2\0', 'app@\0']),
  }
  for (const [name, opens] of places) {
    it(`${name}, one after the other`, { timeout: 120_000 }, async (t) => {
      const { place, pass, report, assertWhole, events } = await setUp(t, opens)
      for (const [what, body] of Object.entries(bodies)) {
        await place.say({ body })
        await pass(60_000)
        assertWhole()
        // A program that prints nothing says nobody; everything else is a failure.
        const isNobody = name === 'exec' && body === ''
        assert.equal(report()?.outcome, isNobody ? 'complete' : 'failed', what)
        if (isNobody) assert.equal(report()?.doubted, true)
        else assert.match(report()?.error?.code ?? '', /^(?!internal$)[a-z][a-z0-9_]*$/, what)
      }
      assert.ok(!events.includes('plan_failed'))
      await place.say({ hosts: HOSTS })
      await pass(60_000)
      assertWhole()
      assert.equal(report()?.outcome, 'complete')
    })

    if (name === 'exec') continue
    it(`${name}, an answer of 100 MB and more`, { timeout: 120_000 }, async (t) => {
      const { place, pass, report, assertWhole } = await setUp(t, opens)
      await place.say({ handle: flooding('[') })
      await pass(60_000)
      assertWhole()
      assert.equal(report()?.outcome, 'failed')
    })
  }
})

describe('one malformed datagram, at which libcluster crashes', () => {
  it('gossip: whatever is said on its port, others are heard and nobody is cut', { timeout: 60_000 }, async (t) => {
    const voice = await openVoice(t)
    const mesh = createFakeMesh(SELF)
    const gossip = { interface: '127.0.0.1', port: voice.port, wire: 'libcluster' }
    const raw = { node: SELF, topologies: { web: { sources: [{ gossip }] } } }
    const log = createFakeLog()
    const agent = createAgent(parseConfig(raw, { file: 'rollcall.yaml', env: {} }), { log, distribution: mesh })
    t.after(() => agent.stop())
    const seen: string[] = []
    agent.on('*', ({ type, node }) => void seen.push(`${type} ${node}`))
    const linked = (node: string) =>
      new Promise<void>((resolve) => {
        agent.on('nodeup', (event) => void (event.node === node && resolve()))
      })
    const [one, other] = [linked(B), linked(C)]
    await agent.start()
    await voice.hear()
    await voice.say(heartbeat(B))
    await one
    const good = heartbeat(C)
    const malformed = [
      Buffer.alloc(0),
      Buffer.alloc(1_400),
      Buffer.from('heartbeat::'),
      Buffer.from('heartbeat::\x83'),
      good.subarray(0, -1),
      Buffer.concat([good, Buffer.from('more')]),
      heartbeat('nobody'),
      heartbeat('a@b@c'),
      heartbeat(`${B}\0`),
      Buffer.concat([Buffer.from('heartbeat::'), Buffer.from([0x83]), Buffer.alloc(1_300, 0x6c)]),
      Buffer.from(`heartbeat::${'<html>'.repeat(200)}`),
    ]
    for (const datagram of malformed) await voice.say(datagram)
    await voice.say(good)
    await other
    assert.deepEqual([...mesh.links].sort(), [B, C])
    assert.deepEqual(
      mesh.calls.filter((call) => call.startsWith('disconnect')),
      [],
    )
    assert.deepEqual(
      seen.filter((event) => /plan_failed|source_failed|nodedown/.test(event)),
      [],
    )
    assert.match(log.lines.join('\n'), /warn .*gossip/)
  })
})

/** What a node of libcluster says: `heartbeat::` and a map with its name as an atom, in the external term format. */
function heartbeat(node: string): Buffer {
  const atom = (text: string) => Buffer.concat([Buffer.from([0x77, Buffer.byteLength(text)]), Buffer.from(text)])
  const map = Buffer.from([0x83, 0x74, 0, 0, 0, 1])
  return Buffer.concat([Buffer.from('heartbeat::'), map, atom('node'), atom(node)])
}
