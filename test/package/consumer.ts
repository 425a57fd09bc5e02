/** A project that uses the package: a config, and for each entry a program that exports what it came to. */
export const CONSUMER: Readonly<Record<string, string>> = {
  'rollcall.yaml': `topologies:
  web:
    sources:
      - static: { nodes: [app@10.0.0.1, app@10.0.0.2] }
log: { level: warn }
`,

  'core.ts': `import { defaultPolicy, parseConfig, plan, type Config, type Observation, type Plan } from 'rollcall/core'

const members = ['app@10.0.0.1', 'app@10.0.0.2'].map((node) => ({ node, status: 'up' as const }))
const observations: Observation[] = [{ source: 'mine', at: 1, outcome: 'complete', members }]
const raw = { topologies: { web: { sources: [{ static: { nodes: ['app@10.0.0.1'] } }] } } }
const config: Config = parseConfig(raw, { file: 'core.ts', env: {} })
const made: Plan = plan(undefined, {
  self: 'app@10.0.0.1',
  now: 1,
  links: [],
  topologies: { web: { sources: ['mine'], intervalMs: 5_000, policy: defaultPolicy, observations } },
})
export const answer = { connect: made.connect, intervalMs: config.topologies['web']?.intervalMs }
`,

  'functions.ts': `import { parseConfig } from 'rollcall/core'
import { createApp, type Log, type Source } from 'rollcall/functions'
import * as z from 'zod/mini'

const log: Log = { debug() {}, info() {}, warn() {}, error() {} }
const mine: Source<unknown> = {
  options: z.unknown(),
  async look(_options, { source, now }) {
    return { source, at: now(), outcome: 'complete', members: [{ node: 'app@10.0.0.2', status: 'up' }] }
  },
}
const raw = { topologies: { web: { sources: [{ static: { nodes: [] } }] } } }
const { topologies } = parseConfig(raw, { file: 'functions.ts', env: {} })
const app = createApp({ topologies, auth: 'none', log, loaders: { static: async () => mine } })
const response = await app.request('/v1/topologies/web/members')
const { members } = (await response.json()) as { members: unknown }
export const answer = { status: response.status, members }
`,

  'agent.ts': `import { createAgent, type Distribution } from 'rollcall/agent'
import { parseConfig } from 'rollcall/core'

const links: string[] = []
const distribution: Distribution = {
  self: 'app@10.0.0.1',
  list: async () => [...links],
  connect: async (node) => void links.push(node),
  disconnect: async () => {},
  leave: async () => {},
  close: async () => {},
}
const raw = { topologies: { web: { sources: [{ static: { nodes: ['app@10.0.0.1', 'app@10.0.0.2'] } }] } } }
const agent = createAgent(parseConfig(raw, { file: 'agent.ts', env: {} }), { distribution })
const { connected, errors } = await agent.discover({ timeoutMs: 10_000 })
export const answer = { connected, errors, formed: agent.plan()?.topologies['web']?.formed }
await agent.stop()
`,

  'member.ts': `import { once } from 'node:events'
import { createServer } from 'node:net'
import { createAgent, distributionOf, type MemberNode, startMember } from 'rollcall/agent'
import { parseConfig } from 'rollcall/core'

// An epmd of their own, which the first of them serves, on loopback alone.
const server = createServer().listen(0, '127.0.0.1')
await once(server, 'listening')
const address = server.address()
if (address === null || typeof address === 'string') throw new TypeError('expected a TCP address')
server.close()
const epmd = { port: address.port, addresses: ['127.0.0.1'] }
const a: MemberNode = await startMember({ name: 'a@127.0.0.1', cookie: 'monster', epmd })
const b: MemberNode = await startMember({ name: 'b@127.0.0.1', cookie: 'monster', epmd })

b.expose({ sums: { add: (...terms) => terms.map(Number).reduce((sum, term) => sum + term) } })
const raw = { node: a.name, topologies: { web: { sources: [{ static: { nodes: [a.name, b.name] } }] } } }
const agent = createAgent(parseConfig(raw, { file: 'member.ts', env: {} }), { distribution: distributionOf(a) })
const { connected, errors } = await agent.discover({ timeoutMs: 10_000 })
export const answer = { connected, errors, back: b.nodes(), sum: await a.rpc(b.name, 'sums', 'add', [1, 2]) }
await agent.stop()
await b.stop()
await a.stop()
`,
}
