import assert from 'node:assert/strict'
import { stringify } from 'yaml'
import { parseYaml } from '../../../agent/config.ts'
import { type Config, parseConfig } from '../../../core/config.ts'
import { RollcallError } from '../../../core/error.ts'
import type { Target } from '../target.ts'

const file = 'rollcall.yaml'
const MAX_BYTES = 8_192
// Where a text is no YAML at all, nobody knows which part of it is a secret.
const LITERAL = 'hunter2'
const env = { COOKIE: 'Open-Sesame-1', EMPTY: '', PORT: '9100', WORDS: '${COOKIE}' }

const yaml = `# an agent
node: app@10.0.0.5
distribution:
  beam: { mode: member, cookie: "\${COOKIE}", port: "\${PORT}", tls: { ca: a.pem, cert: b.pem, key: c.pem } }
topologies:
  web: &web
    interval: 5s
    sources:
      - dns: { query: [web.internal, b.internal.], types: [SRV], server: "udp://10.0.0.2:53" }
      - static: { nodes: [app@10.0.0.5, { node: app@fd00::1, address: { host: h, port: 1 } }] }
      - none
    policy: { disconnect: absent, grace: 1m, budget: 0.5 }
  other: *web
agent: { listen: "127.0.0.1:8788", state: /tmp/x }
log: { level: debug }
`
const json = JSON.stringify({
  distribution: { exec: { connect: ['join', '{node}'], disconnect: ['part', '{node}'], list: ['ls'] } },
  topologies: {
    web: {
      interval: 'never',
      sources: [
        { function: { url: 'https://a.example', token: '${COOKIE}' } },
        { kubernetes: { selector: 'app=web', resource: 'pods' } },
        { gossip: { secret: 'x', cluster: 'shop' } },
        { epmd: { hosts: ['box'], match: ['a*'] } },
        { consul: { service: 'web' } },
        { rancher: { stack: 'a', service: 'b' } },
        { registry: { ttl: '30s' } },
        { './own.ts': { url: 'x' } },
      ],
    },
  },
  auth: [{ name: 'a', sha256: '0'.repeat(64), topologies: ['web'], verbs: ['read'], nodes: 'app@*' }],
})

/**
 * The config file: what is accepted is the same config when it is written as JSON or as YAML again, and every mistake is one error `config`
 * of one line, in which no secret stands.
 */
export function configTarget(): Target {
  let accepted = 0
  return {
    seeds: [yaml, json, stringify(JSON.parse(json))],
    words: [
      '&a ',
      '*a',
      '<<: ',
      '!!binary ',
      '? ',
      '- ',
      '\n  ',
      '---\n',
      '"',
      '${COOKIE}',
      '${EMPTY}',
      '${',
      '5s',
      '1e9h',
      '.inf',
      '|\n',
      `!${LITERAL}`,
      `*${LITERAL}`,
      `"\\U${LITERAL}"`,
    ],
    isJson: true,
    inputs: 1_500,

    run(input) {
      // The parser of YAML takes a second for some texts of 64 kB; the file is the operator's own.
      if (input.length > MAX_BYTES) return
      const text = Buffer.from(input).toString()
      const raw = attempt(() => parseYaml(text, file), LITERAL)
      const config = raw === undefined ? undefined : read(raw)
      if (config === undefined) return
      accepted++
      const asJson = JSON.stringify(raw)
      // YAML has numbers that JSON has not, and a key of any kind is text after parsing.
      if (/null|e\+/.test(asJson)) return
      assert.deepEqual(read(parseYaml(asJson, file)), config)
      assert.deepEqual(read(parseYaml(stringify(raw), file)), config)
    },

    checkReach() {
      assert.ok(accepted > 0)
    },
  }
}

function read(raw: unknown): Config | undefined {
  return attempt(() => parseConfig(raw, { file, env }))
}

function attempt<T>(work: () => T, secret = env.COOKIE): T | undefined {
  try {
    return work()
  } catch (error) {
    if (!(error instanceof RollcallError)) throw error
    assert.equal(error.code, 'config')
    assert.ok(!error.message.includes('\n') && !error.message.includes(secret), error.message)
    return undefined
  }
}
