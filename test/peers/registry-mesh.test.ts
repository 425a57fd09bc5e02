import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { Plan } from '../../core/plan.ts'
import { membersDocumentSchema } from '../../core/wire.ts'
import { freePorts } from '../../demo/free-ports.ts'
import { type Program, startProgram } from '../../demo/program.ts'
import { until } from './until.ts'

// Nodes that know of each other by nothing but the registry of a function, each a process of its own.
const HOST = '127.0.0.1'
const TTL_MS = 2_000
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
// Not its bin, which is a parent of this that hands no signal on.
const WRANGLER = join(ROOT, 'node_modules/wrangler/wrangler-dist/cli.js')
const NAMES = ['ada', 'bob', 'cyd', 'dee', 'eve']
const nodeOf = (name: string) => `${name}@${HOST}`

interface Node {
  readonly program: Program
  readonly listen: string
  readonly lines: Record<string, unknown>[]
}

/** Where the function runs. */
interface Host {
  start(): Promise<void>
  stop(): Promise<void>
  /** Makes it unreachable until `resume`. */
  pause(): Promise<void>
  resume(): Promise<void>
}

interface HostOptions {
  folder: string
  port: number
}

/** A function on Node, which keeps its leases in the process. */
function onNode({ folder, port }: HostOptions): Host {
  const file = join(folder, 'function.yaml')
  let program: Program | undefined
  return {
    async start() {
      await writeFile(file, JSON.stringify(functionConfig('memory')))
      const { promise: serving, resolve } = Promise.withResolvers<void>()
      const onLog = ({ msg }: Record<string, unknown>) => msg === 'serving' && resolve()
      program = startProgram(['--config', file, 'serve', '--port', String(port)], { onLog })
      await serving
    },
    async stop() {
      await program?.stop()
    },
    async pause() {
      process.kill(program?.pid ?? 0, 'SIGSTOP')
    },
    async resume() {
      process.kill(program?.pid ?? 0, 'SIGCONT')
    },
  }
}

/** A function in workerd, whose Durable Object keeps the leases on disk. */
function onWorkerd({ folder, port }: HostOptions): Host {
  let child: ChildProcess | undefined
  let output = ''
  const host: Host = {
    async start() {
      const file = join(folder, 'wrangler.json')
      await writeFile(
        file,
        JSON.stringify({
          name: 'rollcall',
          main: join(ROOT, 'functions/worker.ts'),
          compatibility_date: '2026-10-30',
          compatibility_flags: ['nodejs_compat'],
          durable_objects: { bindings: [{ name: 'REGISTRY', class_name: 'RegistryObject' }] },
          migrations: [{ tag: 'v1', new_sqlite_classes: ['RegistryObject'] }],
          vars: { ROLLCALL_CONFIG: JSON.stringify({ ...functionConfig('durable-object'), auth: 'none' }) },
        }),
      )
      const flags = ['--port', `${port}`, '--ip', HOST, '--inspector-port', '0', '--persist-to', join(folder, 'kept')]
      child = spawn(process.execPath, [WRANGLER, 'dev', '--config', file, ...flags], {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...process.env, CLOUDFLARE_CF_FETCH_ENABLED: 'false', WRANGLER_SEND_METRICS: 'false' },
      })
      for (const stream of [child.stdout, child.stderr]) {
        stream?.setEncoding('utf8').on('data', (text: string) => (output = (output + text).slice(-4_000)))
      }
      const isUp = async () => (await fetch(`http://${HOST}:${port}/healthz`)).ok
      await until('workerd to answer', isUp, { hint: () => output })
    },
    async stop() {
      if (child === undefined || child.exitCode !== null) return
      const ended = once(child, 'exit')
      child.kill('SIGTERM')
      await ended
    },
    pause: () => host.stop(),
    resume: () => host.start(),
  }
  return host
}

function functionConfig(store: string): object {
  return { topologies: { web: { interval: '500ms', sources: [{ registry: { ttl: TTL_MS, store } }] } } }
}

describeMesh('Node', { hostOf: onNode, survives: false })
describeMesh('workerd', { hostOf: onWorkerd, survives: true })

/** `survives`: its leases outlive it. */
function describeMesh(
  where: string,
  { hostOf, survives }: { hostOf: (options: HostOptions) => Host; survives: boolean },
): void {
  describe(`a mesh that knows of itself by the registry alone, on ${where}`, { timeout: 300_000 }, () => {
    let folder: string
    let epmdPort: number
    let functionPort: number
    let nodePorts: number[]
    let host: Host
    const nodes = new Map<string, Node>()
    const programs: Program[] = []

    before(async () => {
      folder = await mkdtemp(join(tmpdir(), 'rollcall-registry-'))
      ;[epmdPort = 0, functionPort = 0, ...nodePorts] = await freePorts(2 + NAMES.length)
      host = hostOf({ folder, port: functionPort })
      await host.start()
      await Promise.all(NAMES.map(startNode))
    })

    after(async () => {
      await Promise.all(programs.map((program) => program.kill()))
      await host.stop()
      await rm(folder, { recursive: true, force: true })
    })

    function start(config: string, args: readonly string[], onLog: (entry: Record<string, unknown>) => void): Program {
      const program = startProgram(['--config', join(folder, `${config}.yaml`), ...args], { onLog })
      programs.push(program)
      return program
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
      await host.pause()
      await observe('failed', 1.5 * TTL_MS)
      await host.resume()
      await observe('complete', 1.5 * TTL_MS)
      assert.deepEqual(Object.keys(await listed()), NAMES.map(nodeOf))
      assert.deepEqual(lossesOf(NAMES), [])
    })

    test(`a function that starts again and has ${survives ? 'kept' : 'forgotten'} all leases cuts nobody`, async () => {
      await host.stop()
      await host.start()
      if (survives) assert.deepEqual(Object.keys(await listed()), NAMES.map(nodeOf), 'at once')
      await observe('complete', 1.5 * TTL_MS)
      assert.deepEqual(Object.keys(await listed()), NAMES.map(nodeOf))
      assert.deepEqual(lossesOf(NAMES), [])
    })

    test('a node that is killed is out of every list once its lease has ended', async (t) => {
      await nodes.get('eve')?.program.kill()
      const killedAt = performance.now()
      nodes.delete('eve')
      await until('eve is not listed', async () => !(nodeOf('eve') in (await listed())))
      t.diagnostic(
        `out of the list ${Math.round(performance.now() - killedAt)} ms after its end, of a lease of ${TTL_MS}`,
      )
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
}
