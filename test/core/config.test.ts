import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { parseConfig } from '../../core/config.ts'
import { RollcallError } from '../../core/error.ts'
import { defaultPolicy } from '../../core/policy.ts'
import { parseServedConfig } from '../../core/served-config.ts'

const FILE = 'rollcall.yaml'
const COOKIE = 'a-cookie-that-nobody-may-read'

function parse(raw: unknown, env: Record<string, string> = {}) {
  return parseConfig(raw, { file: FILE, env })
}

function topology(web: object): object {
  return { topologies: { web: { sources: [], ...web } } }
}

function sources(...entries: unknown[]): object {
  return topology({ sources: entries })
}

function mistake(raw: unknown, env: Record<string, string> = {}): string {
  try {
    parse(raw, env)
  } catch (error) {
    assert.ok(error instanceof RollcallError, String(error))
    assert.equal(error.code, 'config')
    assert.doesNotMatch(error.message, /\n/)
    return error.message
  }
  return assert.fail(`no mistake found in ${JSON.stringify(raw)}`)
}

describe('a config', () => {
  it('has every default filled in and every duration in ms', () => {
    const raw = topology({ sources: [{ dns: { query: 'web.internal', timeout: '1.5s' } }], policy: { grace: '2m' } })
    assert.deepEqual(parse(raw), {
      topologies: {
        web: {
          intervalMs: 5_000,
          sources: [
            { id: 'dns', kind: 'dns', options: { query: 'web.internal', types: ['A', 'AAAA'], timeout: 1_500 } },
          ],
          policy: { ...defaultPolicy, grace: 120_000 },
        },
      },
      agent: { leaveOnExit: false },
      log: { level: 'info' },
    })
  })

  it('takes durations as 250ms, 5s, 2m, 1h or a number of ms, and never as 0', () => {
    const written = { '250ms': 250, '5s': 5_000, '2m': 120_000, '1h': 3_600_000, never: 0 }
    for (const [interval, expected] of Object.entries(written)) {
      assert.equal(parse(topology({ interval })).topologies['web']?.intervalMs, expected)
    }
    assert.equal(parse(topology({ interval: 750 })).topologies['web']?.intervalMs, 750)
  })

  it('names a source by its name, else by its kind, and takes the name out of its options', () => {
    const { web } = parse(sources({ dns: { query: 'a' } }, { dns: { query: 'b', name: 'second' } })).topologies
    assert.deepEqual(
      web?.sources.map(({ id, kind }) => ({ id, kind })),
      [
        { id: 'dns', kind: 'dns' },
        { id: 'second', kind: 'dns' },
      ],
    )
    assert.equal(web?.sources[1]?.options['name'], undefined)
  })

  it('drops the source none in all its spellings', () => {
    const raw = sources('none', { none: null }, { none: {} }, { none: { name: 'off' } })
    assert.deepEqual(parse(raw).topologies['web']?.sources, [])
  })

  it('writes IPv6 hosts of node names as RFC 5952 does', () => {
    const raw = { node: 'app@[FE80::0:1]', ...sources({ static: { nodes: ['a@0:0::1', { node: 'b@[::1]' }] } }) }
    const config = parse(raw)
    assert.equal(config.node, 'app@fe80::1')
    assert.deepEqual(config.topologies['web']?.sources[0]?.options['nodes'], ['a@::1', { node: 'b@::1', status: 'up' }])
  })

  it('keeps one distribution with its defaults', () => {
    const raw = { ...topology({}), distribution: { beam: { cookie: 'c' } } }
    assert.deepEqual(parse(raw).distribution, { beam: { mode: 'sidecar', cookie: 'c' } })
  })

  it('takes whom a member lets dial it, and refuses that of a sidecar', () => {
    const topologies = { web: { sources: [] } }
    const beam = (mode: string) => ({ mode, cookie: 'c', allow: ['app@10.*'] })
    const config = parse({ topologies, distribution: { beam: beam('member') } })
    assert.deepEqual(config.distribution, { beam: beam('member') })
    assert.throws(() => parse({ topologies, distribution: { beam: beam('sidecar') } }), {
      code: 'config',
      message: /expected no listen, hidden or allow in mode sidecar/,
    })
  })

  it('replaces ${NAME} inside text, also where a port is wanted, and in no key', () => {
    const raw = {
      ...sources({ dns: { query: ['a.${ZONE}', '${ZONE}'], timeout: '${TIMEOUT}' } }),
      distribution: { beam: { cookie: '${RELEASE_COOKIE}', epmd: { port: '${PORT}' } } },
    }
    const env = { ZONE: 'web.internal', TIMEOUT: '2s', RELEASE_COOKIE: '$&${ZONE}', PORT: '4370' }
    const config = parse(raw, env)
    assert.deepEqual(config.distribution, { beam: { mode: 'sidecar', cookie: '$&${ZONE}', epmd: { port: 4370 } } })
    const options = config.topologies['web']?.sources[0]?.options
    assert.deepEqual(options?.['query'], ['a.web.internal', 'web.internal'])
    assert.equal(options?.['timeout'], 2_000)
    assert.match(mistake({ ...topology({}), '${ZONE}': 1 }, env), /unknown key "\$\{ZONE\}"/)
  })
})

describe('a mistake in a config is one sentence that names the file, the path, what was expected and what was got', () => {
  const SOURCE = 'topologies.web.sources[0]'
  const duration = 'expected a duration like 250ms, 5s, 2m or 1h'
  const nodeName = 'expected a node name like app@10.0.0.1 (one @, ASCII, at most 255 bytes)'
  const someTopology = 'topologies: expected at least one topology: a name, and under it its sources'
  const kinds = 'static, dns'
  const web = topology({})
  const cases: [string, unknown, string][] = [
    ['an empty file', null, 'expected a mapping with the key topologies, got nothing'],
    ['no mapping', ['web'], 'expected a mapping with the key topologies, got a list of 1'],
    ['no topologies', {}, `${someTopology}, got nothing`],
    ['none of them', { topologies: {} }, `${someTopology}, got an empty mapping`],
    [
      'a nameless one',
      { topologies: { '': {} } },
      'topologies[""]: expected a name for the topology, got an empty mapping',
    ],
    ['no sources', { topologies: { web: {} } }, 'topologies.web.sources: expected a list, got nothing'],
    ['a near key', { ...web, topologys: {} }, 'topologys: unknown key topologys, did you mean topologies?'],
    [
      'another spelling',
      { ...web, agent: { leave_on_exit: true } },
      'agent.leave_on_exit: unknown key leave_on_exit, did you mean leaveOnExit?',
    ],
    [
      'a key near nothing',
      { ...web, agent: { port: 1 } },
      'agent.port: unknown key port; known: listen, state, leaveOnExit',
    ],
    [
      'a key in a policy',
      topology({ policy: { graze: 1 } }),
      'topologies.web.policy.graze: unknown key graze, did you mean grace?',
    ],
    [
      'a misspelt required key',
      sources({ dns: { querry: 'x' } }),
      `${SOURCE}.dns.querry: unknown key querry, did you mean query?`,
    ],
    [
      'a key in a list within alternatives',
      { ...web, auth: [{ nam: 'ci', sha256: 'f' }] },
      'auth[0].nam: unknown key nam, did you mean name?',
    ],
    [
      'a topology whose name is no identifier',
      { topologies: { 'a b': 1 } },
      'topologies["a b"]: expected a mapping, got 1',
    ],
    ['a bad interval', topology({ interval: '5 sec' }), `topologies.web.interval: ${duration}, or never, got "5 sec"`],
    ['an interval of 0', topology({ interval: 0 }), `topologies.web.interval: ${duration}, or never, got 0`],
    ['an interval of 0s', topology({ interval: '0s' }), `topologies.web.interval: ${duration}, or never, got "0s"`],
    [
      'a bad timeout',
      sources({ dns: { query: 'x', timeout: '5 sec' } }),
      `${SOURCE}.dns.timeout: ${duration}, got "5 sec"`,
    ],
    ['a negative grace', topology({ policy: { grace: -1 } }), `topologies.web.policy.grace: ${duration}, got -1`],
    [
      'a grace that is none',
      topology({ policy: { grace: [] } }),
      `topologies.web.policy.grace: ${duration}, got an empty list`,
    ],
    ['a share above 1', topology({ policy: { budget: 2 } }), 'topologies.web.policy.budget: expected at most 1, got 2'],
    [
      'half a miss',
      topology({ policy: { misses: 1.5 } }),
      'topologies.web.policy.misses: expected a whole number, got 1.5',
    ],
    [
      'another word',
      topology({ policy: { disconnect: 'always' } }),
      'topologies.web.policy.disconnect: expected absent or never, got "always"',
    ],
    [
      'an unknown source far from all',
      sources({ zookeeper: {} }),
      `${SOURCE}.zookeeper: unknown source zookeeper; known: ${kinds}`,
    ],
    ['an unknown source', sources({ statik: {} }), `${SOURCE}.statik: unknown source statik, did you mean static?`],
    [
      'a source without options',
      sources('dns'),
      `${SOURCE}: expected none or a kind of source and its options, got "dns"`,
    ],
    ['a source with nothing under it', sources({ dns: null }), `${SOURCE}.dns: expected a mapping, got nothing`],
    [
      'two kinds in one entry',
      sources({ exec: { command: ['x'] }, static: { nodes: [] } }),
      `${SOURCE}: expected exactly one kind of source in an entry of the list, got a mapping with exec, static`,
    ],
    [
      'no kind in an entry',
      sources({}),
      `${SOURCE}: expected exactly one kind of source in an entry of the list, got an empty mapping`,
    ],
    [
      'two equal ids',
      sources({ dns: { query: 'a' } }, { dns: { query: 'b' } }),
      'topologies.web.sources[1].dns: expected a name of its own, got a second source dns: add name: …',
    ],
    ['a query of another type', sources({ dns: { query: 3 } }), `${SOURCE}.dns.query: expected text or a list, got 3`],
    [
      'an empty list of queries',
      sources({ dns: { query: [] } }),
      `${SOURCE}.dns.query: expected at least one entry, got an empty list`,
    ],
    [
      'a type of record',
      sources({ dns: { query: 'x', types: ['MX'] } }),
      `${SOURCE}.dns.types[0]: expected A, AAAA or SRV, got "MX"`,
    ],
    ['a node without @', sources({ static: { nodes: ['app'] } }), `${SOURCE}.static.nodes[0]: ${nodeName}, got "app"`],
    [
      'a member without @',
      sources({ static: { nodes: [{ node: 'app' }] } }),
      `${SOURCE}.static.nodes[0].node: ${nodeName}, got "app"`,
    ],
    ['an empty name', sources({ dns: { query: 'x', name: '' } }), `${SOURCE}.dns.name: expected some text, got ""`],
    [
      'an endless key',
      sources({ static: { nodes: [{ node: 'a@h', meta: { ['k'.repeat(256)]: 'v' } }] } }),
      `${SOURCE}.static.nodes[0].meta.${'k'.repeat(256)}: expected at most 255 characters in the key, got "v"`,
    ],
    ['a self without @', { ...web, node: 'app' }, `node: ${nodeName}, got "app"`],
    ['no transport', { ...web, distribution: {} }, 'distribution: expected either beam or exec, got an empty mapping'],
    [
      'two transports',
      { ...web, distribution: { beam: { cookie: COOKIE }, exec: { connect: ['a'], disconnect: ['b'], list: ['c'] } } },
      'distribution: expected either beam or exec, got a mapping with beam, exec',
    ],
    ['no cookie', { ...web, distribution: { beam: {} } }, 'distribution.beam.cookie: expected text, got nothing'],
    [
      'a port beyond all',
      { ...web, distribution: { beam: { cookie: 'c', port: 70_000 } } },
      'distribution.beam.port: expected at most 65535, got 70000',
    ],
    [
      'a port alone',
      { ...web, agent: { listen: '8788' } },
      'agent.listen: expected host:port like 127.0.0.1:8788, got "8788"',
    ],
    [
      'a hash',
      { ...web, auth: [{ name: 'ci', sha256: 'f' }] },
      'auth[0].sha256: expected 64 hexadecimal digits: rollcall token prints them, got "f"',
    ],
    ['auth by another word', { ...web, auth: 'off' }, 'auth: expected none or a list, got "off"'],
    [
      'a level',
      { ...web, log: { level: 'loud' } },
      'log.level: expected debug, info, warn, error or silent, got "loud"',
    ],
  ]
  for (const [what, raw, sentence] of cases) {
    it(what, () => {
      const message = mistake(raw)
      // Sources are added over time: what is listed may grow at its end.
      const stable = sentence.endsWith(kinds) ? message.slice(0, `[config] ${FILE}: ${sentence}`.length) : message
      assert.equal(stable, `[config] ${FILE}: ${sentence}`)
    })
  }
})

describe('what a function reads of a config', () => {
  const served = (raw: unknown) => parseServedConfig(raw, { file: FILE, env: {} })
  const sentenceOf = (raw: unknown) => {
    try {
      served(raw)
    } catch (error) {
      return error instanceof RollcallError
        ? error.message.replace(`[config] ${FILE}: `, '')
        : assert.fail(String(error))
    }
    return assert.fail('no mistake found')
  }

  it('is what the whole config says of topologies, auth and log', () => {
    const auth = [{ name: 'ci', sha256: 'f'.repeat(64) }]
    const raw = {
      ...sources({ static: { nodes: ['a@[::1]', { node: 'b@h', address: { host: 'h', port: 1 } }] } }),
      auth,
    }
    const { topologies, auth: entries, log } = parse(raw)
    assert.deepEqual(served(raw), { topologies, auth: entries, log })
  })

  it('leaves alone what only an agent reads, so that one config may be for both', () => {
    const raw = { ...topology({}), node: 3, distribution: { beam: {} }, agent: { listen: false } }
    assert.deepEqual(Object.keys(served(raw)), ['topologies', 'auth', 'log'])
  })

  it('has every mistake named, and all that is known beside an unknown key', () => {
    const known = 'known: topologies, auth, log, node, distribution, agent'
    assert.equal(sentenceOf({ ...topology({}), topologys: {} }), `topologys: unknown key topologys; ${known}`)
    const path = 'topologies.web.sources[0]'
    assert.match(sentenceOf(sources({ statik: {} })), /statik: unknown source statik; known: static, dns/)
    assert.match(sentenceOf(sources({ exec: { command: ['x'] } })), /exec: unknown source exec; known: static, dns/)
    assert.equal(sentenceOf(sources({ dns: { query: 3 } })), `${path}.dns.query: expected text or a list, got 3`)
    assert.equal(sentenceOf(['web']), 'expected a mapping with the key topologies, got a list of 1')
    const twice = `${path.replace('0', '1')}.dns: expected a name of its own, got a second source dns: add name: …`
    assert.equal(sentenceOf(sources({ dns: { query: 'a' } }, { dns: { query: 'b' } })), twice)
  })
})

describe('a variable in a config', () => {
  const raw = { ...topology({}), distribution: { beam: { cookie: '${RELEASE_COOKIE}' } } }
  const path = `[config] ${FILE}: distribution.beam.cookie: `

  it('that is not set is an error that names it and the path', () => {
    assert.equal(mistake(raw), `${path}expected the environment variable RELEASE_COOKIE, got nothing: it is not set`)
  })

  it('that is set but empty cannot make an empty value', () => {
    const message = mistake(raw, { RELEASE_COOKIE: '' })
    assert.equal(message, `${path}expected a value in \${RELEASE_COOKIE}, got nothing: it is set, and empty`)
  })

  it('has no default syntax of shells', () => {
    const message = mistake({ ...topology({}), node: '${NODE:-app@host}' }, { NODE: 'a@b' })
    assert.match(message, /: node: expected the name of an environment variable, got \$\{NODE:-app@host\}$/)
  })

  it('is named, its value is not, when the value is wrong', () => {
    const message = mistake({ ...topology({}), node: '${NODE}' }, { NODE: COOKIE })
    assert.match(message, /got "\$\{NODE\}"$/)
  })
})

describe('a secret is never repeated', () => {
  const cases: [string, unknown][] = [
    ['of another type', { ...topology({}), distribution: { beam: { cookie: 20_407 } } }],
    ['under an unknown key', { ...topology({}), distribution: { beam: { cooky: '20407' } } }],
    ['inside an address', sources({ function: { url: 'ftp://user:20407@host' } })],
    ['of a function', sources({ function: { url: 'https://host', token: { is: '20407' } } })],
  ]
  for (const [what, raw] of cases) {
    it(what, () => assert.doesNotMatch(mistake(raw), /20407/))
  }
})

describe('whatever stands in a config', () => {
  const KEYS = [
    'topologies',
    'web',
    'sources',
    'dns',
    'static',
    'nodes',
    'meta',
    'policy',
    'grace',
    'auth',
    'beam',
    'distribution',
    'address',
    'node',
  ]
  const scalar = fc.oneof(
    fc.string(),
    fc.integer(),
    fc.double(),
    fc.boolean(),
    fc.constantFrom(null, 'a@h', '5s', 'none', '${X}', '${'),
  )
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof({ maxDepth: 5 }, scalar, fc.array(tie('value'), { maxLength: 3 }), tie('mapping')),
    mapping: fc.dictionary(
      fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...KEYS) }, { weight: 1, arbitrary: fc.string() }),
      tie('value'),
      { maxKeys: 4 },
    ),
  }))
  const places: ((value: unknown) => unknown)[] = [
    (value) => value,
    (value) => ({ topologies: value }),
    (value) => topology({ policy: value }),
    (value) => topology({ interval: value }),
    (value) => sources(value),
    (value) => sources({ static: { nodes: [value] } }),
    (value) => sources({ static: { nodes: [{ node: 'a@h', meta: value }] } }),
    (value) => ({ ...topology({}), distribution: value }),
    (value) => ({ ...topology({}), auth: value }),
  ]

  it('is taken, or refused in one sentence that says what was expected', () => {
    fc.assert(
      fc.property(fc.constantFrom(...places), value, (place, value) => {
        try {
          parse(place(value), { X: '1' })
        } catch (error) {
          assert.ok(error instanceof RollcallError, String(error))
          assert.match(error.message, /^\[config\] rollcall\.yaml: .*(expected .+, got |unknown (key|source) ).*$/)
          assert.doesNotMatch(error.message, /something else|\[object|Invalid/)
        }
      }),
      { numRuns: 3_000, seed: 20_261_120 },
    )
  })
})
