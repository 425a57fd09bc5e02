import assert from 'node:assert/strict'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test, type TestContext } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import type { Plan } from '../../core/plan.ts'
import { settlingMs } from '../sim/bounds.ts'
import { type Census, takeCensus } from './chaos/census.ts'
import { getFrom } from './chaos/eye.ts'
import {
  diskFull,
  dnsFlapping,
  type Fault,
  functionKilled,
  killed,
  lossy,
  oneWay,
  stopped,
  unplugged,
} from './chaos/faults.ts'
import type { ChaosNode } from './chaos/node.ts'
import { AGENT_PORT, INTERVAL_MS, POLICY } from './chaos/settings.ts'
import { BOUND_MS, createWatch, type Watch } from './chaos/watch.ts'
import { createWorld, type World } from './chaos/world.ts'
import { missingNamespaces } from './namespaces.ts'
import { missingPrograms } from './programs.ts'
import { until } from './until.ts'

// 15 hosts on one bridge, each with a node of one mesh: five Erlang nodes with an epmd and a sidecar, and ten members. Some know of
// each other by DNS, some by the function, and every other one by gossip besides. Takes some 220 s, of which the faults last 150.
const skip = missingNamespaces() || missingPrograms('erl', 'named', 'nsupdate', 'nft')

// Longer than the 10 s in which an Erlang node misses a silent peer, and twice the grace.
const FAULT_MS = 12_000
// Longer than the 75 s in which a member does.
const LONG_FAULT_MS = 80_000

describe('a mesh of real processes on 15 hosts', { skip, timeout: 900_000 }, () => {
  let world: World
  let watch: Watch
  let census: Census
  let told: { node: string; what: unknown; at: number }[] = []

  before(async () => {
    world = await createWorld({ erlang: 5, members: 10 })
    for (const node of world.nodes) {
      node.onLog(({ type, msg }) => told.push({ node: node.name, what: type ?? msg, at: Date.now() }))
    }
    watch = createWatch(world.nodes)
    await whole()
    census = await takeCensus(world)
  })

  after(async () => await world?.end())

  /** The node on this host, from 1: the first five are Erlang nodes. */
  function on(number: number): ChaosNode {
    return world.nodes[number - 1] ?? assert.fail(`expected a host ${number}`)
  }

  const asking = (source: string) => world.nodes.filter(({ sources }) => sources.includes(source))

  /** Resolves when every node is linked to every other, both ways, and each agent sees that. */
  async function whole(): Promise<void> {
    let missing: string[] = []
    const isWhole = async () => {
      missing = await watch.look()
      return missing.length === 0 && world.nodes.every((node) => node.told.size === world.nodes.length - 1)
    }
    const hint = () => [...missing, ...world.nodes.map((node) => `${node.name}\n${node.log()}`)].join('\n')
    await until('the mesh to be whole', isWhole, { hint })
  }

  /** Resolves when each of these agents has said this since then. */
  async function heard(nodes: readonly ChaosNode[], what: RegExp, since: number): Promise<void> {
    const isSilent = ({ name }: ChaosNode) =>
      !told.some((line) => line.node === name && line.at >= since && what.test(String(line.what)))
    const hint = () =>
      nodes
        .filter(isSilent)
        .map(({ name }) => name)
        .join()
    await until(`${what} from each`, () => !nodes.some(isSilent), { hint })
  }

  /** Resolves when the others have no link to these. */
  async function missed(...gone: readonly ChaosNode[]): Promise<void> {
    const others = world.nodes.filter((node) => !gone.includes(node))
    await until('the others to miss them', async () => {
      const seen = await Promise.all(others.map((node) => node.links()))
      return !seen.some((links) => gone.some(({ name }) => links.has(name)))
    })
  }

  /**
   * Lets the faults last until `felt`. Sees that the mesh is then whole within the bound, no link was lost but those that
   * the faults explain, no process died and none holds more open than before. Gives how often the end of a link was lost, by why.
   */
  async function strike(
    t: TestContext,
    { faults, felt }: { faults: readonly Fault[]; felt: (since: number) => Promise<unknown> },
  ): Promise<Record<string, number>> {
    const before = new Map(watch.explained)
    const [wrongBefore, lateBefore] = [watch.wrong.length, watch.late.length]
    const since = Date.now()
    told = []
    const episodes = await Promise.all(faults.map((fault) => watch.begin(fault)))
    try {
      await felt(since)
      await watch.look()
    } finally {
      await Promise.all(episodes.map((episode) => watch.end(episode)))
    }
    const endedAt = performance.now()
    await whole()
    const wholeMs = Math.round(performance.now() - endedAt)
    assert.deepEqual(watch.wrong.slice(wrongBefore), [])
    assert.deepEqual(watch.late.slice(lateBefore), [])
    assert.deepEqual(await census.died(), [])
    await census.settled()
    const counts = [...watch.explained].map(([kind, count]) => [kind, count - (before.get(kind) ?? 0)] as const)
    const lost = Object.fromEntries(counts.filter(([, count]) => count > 0))
    t.diagnostic(`whole after ${wholeMs} ms, of ${BOUND_MS}; ends of links lost: ${JSON.stringify(lost)}`)
    return lost
  }

  const lasting = () => setTimeout(FAULT_MS)

  test('kill -9 of an Erlang node, of a sidecar and of a member costs the links of the two nodes', async (t) => {
    const faults = [killed(on(1), 'erl'), killed(on(2), 'agent'), killed(on(7), 'agent')]
    const lost = await strike(t, { faults, felt: () => missed(on(1), on(7)) })
    // 13 others lose each.
    assert.ok((lost['kill -9 of erl'] ?? 0) >= 13 && (lost['kill -9 of member'] ?? 0) >= 13, JSON.stringify(lost))
  })

  test('kill -9 of epmd costs no link, and its node is known to the next one', async (t) => {
    const isUnknown = () => until('no answer', async () => !(await on(3).isRegistered()))
    await strike(t, { faults: [killed(on(3), 'epmd')], felt: isUnknown })
    await until('the node to be registered again', () => on(3).isRegistered())
  })

  test('kill -9 of the function costs no link', async (t) => {
    async function felt(since: number): Promise<void> {
      await heard(asking('function'), /^source_failed$/, since)
      await lasting()
    }
    assert.deepEqual(await strike(t, { faults: [functionKilled(world)], felt }), {})
    await heard(asking('function'), /^source_recovered$/, 0)
  })

  test('DNS that flaps costs no link', async (t) => {
    async function felt(since: number): Promise<void> {
      await heard(world.nodes, /^source_(failed|doubted)$/, since)
      await lasting()
    }
    assert.deepEqual(await strike(t, { faults: [dnsFlapping(world)], felt }), {})
  })

  test('a full disk costs no link: each agent says so, and writes its state again when there is room', async (t) => {
    const felt = (since: number) => heard(world.nodes, /^the state is not kept/, since)
    assert.deepEqual(await strike(t, { faults: [diskFull(world)], felt }), {})
    const roomAt = Date.now()
    const isWritten = async ({ host }: ChaosNode) =>
      (await stat(join(world.disk.folder, host.address))).mtimeMs >= roomAt
    await until(
      'all states to be written',
      async () => !(await Promise.all(world.nodes.map(isWritten))).includes(false),
    )
  })

  test('a cable that is out for a while costs the links of its host', async (t) => {
    const lost = await strike(t, { faults: [unplugged(on(2)), unplugged(on(8))], felt: lasting })
    // The Erlang nodes miss each other, and the members on the other side; two members wait longer.
    assert.ok((lost['link down'] ?? 0) >= 14, JSON.stringify(lost))
  })

  test('what is lost one way costs the link of the two hosts', async (t) => {
    const faults = [oneWay(world, on(3), on(9)), oneWay(world, on(10), on(4)), oneWay(world, on(11), on(12))]
    const lost = await strike(t, { faults, felt: lasting })
    assert.ok(faults.every((fault) => fault.packets() > 0))
    assert.ok((lost['one-way drop'] ?? 0) > 0, JSON.stringify(lost))
  })

  test('what is lost one way between two Erlang nodes costs no link of a member', async (t) => {
    const lost = await strike(t, { faults: [oneWay(world, on(1), on(2))], felt: lasting })
    assert.ok((lost['one-way drop'] ?? 0) > 0, JSON.stringify(lost))
  })

  test('50% loss costs at most the links of its host', async (t) => {
    const faults = [lossy(world, on(5)), lossy(world, on(13))]
    await strike(t, { faults, felt: lasting })
    assert.ok(faults.every((fault) => fault.packets() > 0))
  })

  test('SIGSTOP, and a cable that is out for longer than any tick time, cost the links of their hosts', async (t) => {
    const faults = [stopped(on(4), 'erl'), stopped(on(5), 'agent'), stopped(on(14), 'agent'), unplugged(on(12))]
    const lost = await strike(t, { faults, felt: () => setTimeout(LONG_FAULT_MS) })
    for (const kind of ['SIGSTOP of erl', 'SIGSTOP of member', 'link down']) assert.ok(lost[kind], JSON.stringify(lost))
  })

  test('at the end each agent has all it wants, believes its sources and has no more memory than it had', async () => {
    const eye = world.network.hosts.at(-1) ?? assert.fail('expected a host')
    const urls = world.nodes.map(({ host }) => `http://${host.address}:${AGENT_PORT}/v1/plan`)
    let restless: string[] = []
    const isAtRest = async () => {
      const answers = await getFrom(eye, urls)
      restless = Object.entries(answers).flatMap(([url, { body }]) => {
        const { connect, disconnect, hold, topologies } = JSON.parse(body) as Plan
        const sources = Object.values(topologies).flatMap((topology) => Object.values(topology.sources))
        const isSound = sources.every(({ outcome, doubted }) => outcome !== 'failed' && doubted !== true)
        return isSound && [connect, disconnect, hold].every((nodes) => nodes.length === 0) ? [] : `${url}: ${body}`
      })
      return restless.length === 0
    }
    const timeoutMs = settlingMs({ policy: POLICY, intervalMs: INTERVAL_MS })
    await until('all to be at rest', isAtRest, { timeoutMs, hint: () => restless.join('\n') })
    assert.deepEqual(await census.died(), [])
    assert.deepEqual(await census.grown(), [])
  })
})
