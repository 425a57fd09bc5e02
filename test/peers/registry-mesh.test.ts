import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Plan } from '../../core/plan.ts'
import { membersDocumentSchema } from '../../core/wire.ts'
import { freePorts } from '../../demo/free-ports.ts'
import { type Program, startProgram } from '../../demo/program.ts'
import { until } from './until.ts'

// Nodes that know of each other by nothing but the registry of a function, each a process of its own.
const HOST = '127.0.0.1'
const TTL_MS = 2_000
const NAMES = ['ada', 'bob', 'cyd', 'dee', 'eve']
const nodeOf = (name: string) => `${name}@${HOST}`

interface Node {
  readonly program: Program
  readonly listen: string
  readonly lines: Record<string, unknown>[]
}

describe('a mesh that knows of itself by the registry alone', { timeout: 300_000 }, () => {
  let folder: string
  let epmdPort: number
  let functionPort: number
  let nodePorts: number[]
  let served: Program | undefined
  const nodes = new Map<string, Node>()
  const programs: Program[] = []

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'rollcall-registry-'))
    ;[epmdPort = 0, functionPort = 0, ...nodePorts] = await freePorts(2 + NAMES.length)
    await writeFile(
      join(folder, 'function.yaml'),
      `topologies: { web: { interval: 500ms, sources: [ registry: { ttl: ${TTL_MS}ms } ] } }\n`,
    )
    await startFunction()
    await Promise.all(NAMES.map(startNode))
  })

  after(async () => {
    await Promise.all(programs.map((program) => program.kill()))
    await rm(folder, { recursive: true, force: true })
  })

  function start(config: string, args: readonly string[], onLog: (entry: Record<string, unknown>) => void): Program {
    const program = startProgram(['--config', join(folder, `${config}.yaml`), ...args], { onLog })
    programs.push(program)
    return program
  }

  async function startFunction(): Promise<void> {
    const { promise: serving, resolve } = Promise.withResolvers<void>()
    served = start('function', ['serve', '--port', String(functionPort)], ({ msg }) => msg === 'serving' && resolve())
    await serving
  }

  async function startNode(name: string): Promise<void> {
    const listen = `${HOST}:${nodePorts[NAMES.indexOf(name)]}`
    await writeFile(
      join(folder, `${name}.yaml`),
      `node: ${nodeOf(name)}
distribution: { beam: { mode: member, cookie: registry, epmd: { port: ${epmdPort} } } }
topologies:
  web:
    interval: 500ms
    sources: [ function: { url: "http://${HOST}:${functionPort}", register: { meta: { zone: a } }, timeout: 1s } ]
agent: { listen: "${listen}" }
`,
    )
    const lines: Record<string, unknown>[] = []
    nodes.set(name, { program: start(name, ['agent'], (line) => void lines.push(line)), listen, lines })
  }

  async function planOf(name: string): Promise<Omit<Plan, 'state'> & { links: string[] }> {
    const response = await fetch(`http://${nodes.get(name)?.listen}/v1/plan`)
    assert.equal(response.status, 200)
    return (await response.json()) as Plan & { links: string[] }
  }

  /** Who is listed, and as what. */
  async function listed(): Promise<Record<string, string>> {
    const response = await fetch(`http://${HOST}:${functionPort}/v1/topologies/web/members`)
    const { members } = membersDocumentSchema.parse(await response.json())
    return Object.fromEntries(members.map(({ node, status }) => [node, status]))
  }

  const hint = () =>
    [...nodes].map(([name, { lines }]) => `${name}: ${JSON.stringify(lines.slice(-10), undefined, 1)}`).join('\n')

  async function meshOf(names: readonly string[]): Promise<void> {
    for (const name of names) {
      const others = names.filter((other) => other !== name).map(nodeOf)
      await until(
        `${name} linked to ${others.join()}`,
        async () => (await planOf(name)).links.toSorted().join() === others.join(),
        { hint },
      )
    }
  }

  const lossesOf = (names: readonly string[]) =>
    names.flatMap((name) => nodes.get(name)?.lines.filter(({ type }) => type === 'nodedown') ?? [])

  /** Until no agent has had another outcome than this one for so long. */
  async function observe(outcome: string, ms: number): Promise<void> {
    let since: number | undefined
    await until(
      `${ms} ms of ${outcome} at each`,
      async () => {
        const plans = await Promise.all([...nodes.keys()].map(planOf))
        const isSo = plans.every(({ topologies }) => topologies['web']?.sources['function']?.outcome === outcome)
        since = isSo ? (since ?? performance.now()) : undefined
        return since !== undefined && performance.now() - since >= ms
      },
      { hint },
    )
  }

  test('forms, and each says of itself where it is dialled and what it is', async () => {
    await meshOf(NAMES)
    const response = await fetch(`http://${HOST}:${functionPort}/v1/topologies/web/members`)
    const { members } = membersDocumentSchema.parse(await response.json())
    assert.deepEqual(
      members.map(({ node }) => node),
      NAMES.map(nodeOf),
    )
    for (const { id, address, meta } of members) {
      assert.match(id ?? '', /^[0-9a-f-]{36}$/)
      assert.equal(address?.host, HOST)
      assert.deepEqual(meta, { zone: 'a' })
    }
  })

  test('a function that is away for longer than a lease cuts nobody, and afterwards nobody leaves', async () => {
    process.kill(served?.pid ?? 0, 'SIGSTOP')
    await observe('failed', 1.5 * TTL_MS)
    process.kill(served?.pid ?? 0, 'SIGCONT')
    await observe('complete', 1.5 * TTL_MS)
    assert.deepEqual(Object.keys(await listed()), NAMES.map(nodeOf))
    assert.deepEqual(lossesOf(NAMES), [])
  })

  test('a function that starts again and has forgotten all leases cuts nobody', async () => {
    await served?.stop()
    await startFunction()
    await observe('complete', 1.5 * TTL_MS)
    assert.deepEqual(Object.keys(await listed()), NAMES.map(nodeOf))
    assert.deepEqual(lossesOf(NAMES), [])
  })

  test('a node that is killed is out of every list once its lease has ended', async () => {
    await nodes.get('eve')?.program.kill()
    const killedAt = performance.now()
    nodes.delete('eve')
    await until('eve is not listed', async () => !(nodeOf('eve') in (await listed())))
    // Its lease, and the interval at which the function looks; the rest is what a busy machine adds.
    assert.ok(performance.now() - killedAt < 3 * TTL_MS, `${performance.now() - killedAt} ms`)
    const rest = NAMES.slice(0, 4)
    await meshOf(rest)
    for (const name of rest) {
      await until(
        `${name} has forgotten eve`,
        async () => {
          const { connect, hold } = await planOf(name)
          return [...connect, ...hold].every(({ node }) => node !== nodeOf('eve'))
        },
        { hint },
      )
    }
  })

  test('a node that ends in order is shown as leaving at once, and comes back as another start', async () => {
    const { program } = nodes.get('dee') ?? assert.fail('expected dee')
    nodes.delete('dee')
    await program.stop()
    assert.equal((await listed())[nodeOf('dee')], 'leaving')
    await meshOf(NAMES.slice(0, 3))
    await startNode('dee')
    await meshOf(NAMES.slice(0, 4))
    assert.equal((await listed())[nodeOf('dee')], 'up')
  })
})
