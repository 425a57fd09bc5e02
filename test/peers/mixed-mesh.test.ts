import assert from 'node:assert/strict'
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test, type TestContext } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { type Agent, createAgent } from '../../agent/agent.ts'
import { type MemberNode, startMember } from '../../agent/beam/member.ts'
import { createBeamDistribution } from '../../agent/distributions/beam.ts'
import type { Distribution } from '../../agent/distributions/distribution.ts'
import { distributionOf } from '../../agent/distributions/member.ts'
import type { AgentEvent } from '../../agent/events.ts'
import { parseConfig } from '../../core/config.ts'
import { parseDuration } from '../../core/duration.ts'
import { type Epmd, type Peer, startEpmd, startErl } from './erlang.ts'
import { missingPrograms } from './programs.ts'
import { until } from './until.ts'

// How long the mesh is watched: SOAK=10m says what a minute cannot.
const SOAK_MS = parseDuration(process.env.SOAK ?? '30s') ?? 30_000
const cookie = 'mixed'
const erlang = ['e1', 'e2', 'e3'].map((name) => `${name}@127.0.0.1`)
const javascript = ['j1', 'j2'].map((name) => `${name}@127.0.0.1`)
const all = [...erlang, ...javascript]
const SILENT = { debug() {}, info() {}, warn() {}, error() {} }

describe('a mesh of three Erlang nodes with sidecars and two members', {
  skip: missingPrograms('erl'),
  timeout: SOAK_MS + 240_000,
}, () => {
  let epmd: Epmd
  let folder: string
  const peers = new Map<string, Peer>()
  const members = new Map<string, MemberNode>()
  const agents = new Map<string, Agent>()
  const dials: string[] = []
  const events: string[] = []

  before(async () => {
    epmd = await startEpmd()
    folder = await mkdtemp(join(tmpdir(), 'rollcall-mixed-'))
    await list(all)
    for (const node of erlang) peers.set(node, await startErl({ name: node, cookie, epmdPort: epmd.port }))
    for (const name of javascript) members.set(name, await startMember({ name, cookie, epmd: { port: epmd.port } }))
  })

  after(async () => {
    for (const agent of agents.values()) await agent.stop()
    for (const member of members.values()) await member.stop()
    for (const peer of peers.values()) await peer.kill()
    await epmd.stop()
    await rm(folder, { recursive: true })
  })

  /** What the source says from now on, in one step. */
  async function list(nodes: readonly string[]): Promise<void> {
    await writeFile(join(folder, 'next'), nodes.join('\n'))
    await rename(join(folder, 'next'), join(folder, 'nodes'))
  }

  async function startAgent(node: string): Promise<void> {
    const raw = {
      node,
      distribution: { beam: { cookie, epmd: { port: epmd.port } } },
      topologies: {
        web: {
          interval: '1s',
          sources: [{ exec: { command: ['cat', join(folder, 'nodes')] } }],
          policy: { grace: '3s', budget: 0.5 },
        },
      },
    }
    const config = parseConfig(raw, { file: 'mixed.yaml', env: {} })
    const member = members.get(node)
    const beam = config.distribution
    assert.ok(beam !== undefined && 'beam' in beam)
    const distribution =
      member === undefined
        ? createBeamDistribution(beam.beam, { self: node, log: SILENT, env: {} })
        : distributionOf(member)
    const agent = createAgent(config, { log: SILENT, distribution: counted(distribution) })
    agent.on('*', (event: AgentEvent) => {
      const about = 'node' in event ? event.node : ''
      events.push(`${node}: ${event.type} ${about} ${event.message}`)
    })
    agents.set(node, agent)
    await agent.start()
  }

  function counted(distribution: Distribution): Distribution {
    return {
      ...distribution,
      connect(node, options) {
        dials.push(`${distribution.self} dials ${node}`)
        return distribution.connect(node, options)
      },
    }
  }

  async function linksOf(node: string): Promise<string[]> {
    const member = members.get(node)
    if (member !== undefined) return member.nodes().toSorted()
    const text = (await peers.get(node)?.evaluate('lists:sort(nodes(connected))')) ?? ''
    // The connections of the sidecars themselves are nobody's links.
    return [...text.matchAll(/'([^']+)'/g)].flatMap(([, name = '']) => (name.startsWith('rollcall-') ? [] : name))
  }

  async function isMesh(nodes: readonly string[]): Promise<boolean> {
    for (const node of nodes) {
      if ((await linksOf(node)).join() !== nodes.filter((other) => other !== node).join()) return false
    }
    return true
  }

  /** The links between these nodes that somebody dialled or saw end. Agents hear of a removal one after the other, and who has not dials whom it concerns. */
  function changesAmong(nodes: readonly string[]): string[] {
    const among = nodes.join('|')
    const pattern = new RegExp(`^(${among})(: nodedown| dials) (${among})( |$)`)
    return [...dials, ...events].filter((event) => pattern.test(event))
  }

  const story = () => [...dials, ...events].join('\n')

  test('forms', async (t: TestContext) => {
    const startedAt = performance.now()
    await Promise.all(all.map(startAgent))
    await until('the mesh', () => isMesh(all), { hint: story })
    t.diagnostic(
      `formed ${Math.round(performance.now() - startedAt)} ms after the agents started, with ${dials.length} dials`,
    )
  })

  test('is stable without one dial and without one link lost', async (t) => {
    // Those that crossed may still be ending.
    await until('plans that want nothing', () =>
      [...agents.values()].every((agent) => agent.plan()?.hold.length === 0 && agent.plan()?.connect.length === 0),
    )
    dials.length = events.length = 0
    await setTimeout(SOAK_MS)
    assert.deepEqual([dials, events], [[], []])
    assert.ok(await isMesh(all))
    t.diagnostic(`watched for ${SOAK_MS} ms`)
  })

  test('loses exactly the member that is removed', async () => {
    const left = all.filter((node) => node !== 'j2@127.0.0.1')
    await list(left)
    await until('j2 is out', async () => (await linksOf('j2@127.0.0.1')).length === 0 && (await isMesh(left)), {
      hint: story,
    })
    assert.deepEqual(changesAmong(left), [])
  })

  test('loses exactly the Erlang node that is removed', async () => {
    const left = ['e1', 'e2', 'j1'].map((name) => `${name}@127.0.0.1`)
    await list(left)
    await until('e3 is out', async () => (await linksOf('e3@127.0.0.1')).length === 0 && (await isMesh(left)), {
      hint: story,
    })
    assert.deepEqual(changesAmong(left), [])
  })

  test('takes both back when they are listed again', async () => {
    await list(all)
    await until('the whole mesh', () => isMesh(all), { hint: story })
  })
})
