import { randomUUID } from 'node:crypto'
import { rmSync } from 'node:fs'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { registeredNames } from '../agent/beam/epmd.ts'
import { RollcallError } from '../core/error.ts'
import { basenameOf } from '../core/node.ts'
import type { Plan } from '../core/plan.ts'
import { functionConfig, HOST, nodeConfig } from './configs.ts'
import { freePorts } from './free-ports.ts'
import { type Program, type ProgramOptions, startProgram } from './program.ts'
import type { NodeView } from './view.ts'

/** The function and its nodes, each a process of its own. */
export interface Mesh {
  /** Where the function answers. */
  readonly url: string
  /** Where the configs are. */
  readonly folder: string
  /** Resolves when the function answers, at once where it runs already. */
  startFunction(): Promise<Program>
  startNode(name: string): void
  /** Ends a node as a crash does. */
  kill(name: string): Promise<void>
  look(): Promise<NodeView[]>
  /** How a node has ended. */
  endOf(name: string): string
  /** Ends all processes. */
  end(): Promise<void>
}

/** A node, and what its log has told. */
interface StartedNode {
  readonly program: Program
  readonly told: { losses: string[]; servesEpmd: boolean }
}

// A healthy node answers in a few ms; one that is about to end may not answer at all.
const ASK_TIMEOUT_MS = 1_000

/** Writes the configs of a mesh of `names` into a folder that goes with this process; nothing is started yet. */
export async function createMesh(names: readonly string[]): Promise<Mesh> {
  const [functionPort = 0, epmdPort = 0, ...nodePorts] = await freePorts(2 + names.length)
  const url = `http://${HOST}:${functionPort}`
  const folder = await mkdtemp(join(tmpdir(), 'rollcall-demo-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  const listens = new Map(names.map((name, index) => [name, `${HOST}:${nodePorts[index]}`]))
  // Nobody else on this machine knows it, and nobody needs to.
  const cookie = randomUUID()
  await writeFile(fileOf('function'), functionConfig(names))
  for (const [name, listen] of listens) {
    await writeFile(fileOf(name), nodeConfig(name, { cookie, epmdPort, url, listen }))
  }
  const nodes = new Map<string, StartedNode>()
  const programs: Program[] = []
  let served: Program | undefined
  let isEnded = false

  function fileOf(name: string): string {
    return join(folder, `${name}.yaml`)
  }

  function start(name: string, args: readonly string[], options: ProgramOptions): Program {
    // Who is started after the end is ended by nobody.
    if (isEnded) throw new RollcallError('ended', `[demo] expected to start ${name}, got the end of the demo`)
    const program = startProgram(['--config', fileOf(name), ...args], options)
    programs.push(program)
    return program
  }

  async function look(name: string, inEpmd: readonly string[]): Promise<NodeView> {
    const node = nodes.get(name)
    if (node === undefined || !node.program.isRunning) {
      return { name, links: [], losses: [], isInEpmd: inEpmd.includes(name), servesEpmd: false }
    }
    const plan = await ask(`http://${listens.get(name)}/v1/plan`)
    return {
      name,
      pid: node.program.pid,
      links: plan?.links.map(basenameOf) ?? [],
      losses: [...node.told.losses],
      isInEpmd: inEpmd.includes(name),
      servesEpmd: node.told.servesEpmd,
      plan,
    }
  }

  return {
    url,
    folder,

    async startFunction() {
      if (served?.isRunning) return served
      return await new Promise((resolve, reject) => {
        const program = start('function', ['serve', '--port', String(functionPort)], {
          onLog: ({ msg }) => msg === 'serving' && resolve(program),
          onExit: () => reject(functionEnded(program)),
        })
        served = program
      })
    },

    startNode(name) {
      const told: StartedNode['told'] = { losses: [], servesEpmd: false }
      const program = start(name, ['agent'], {
        onLog({ type, node, msg }) {
          if (type === 'nodedown') told.losses.push(basenameOf(String(node)))
          if (msg === 'serves the epmd of this machine') told.servesEpmd = true
        },
      })
      nodes.set(name, { program, told })
    },

    async kill(name) {
      await nodes.get(name)?.program.kill()
    },

    async look() {
      const inEpmd = await namesInEpmd(epmdPort)
      return await Promise.all(names.map((name) => look(name, inEpmd)))
    },

    endOf: (name) => nodes.get(name)?.program.end ?? 'never started',

    async end() {
      isEnded = true
      await Promise.all(programs.map((program) => program.stop()))
    },
  }
}

function functionEnded({ end }: Program): RollcallError {
  return new RollcallError('function_ended', `[demo] expected the function to answer, got its end: ${end}`)
}

/** The last plan of an agent, and its links; undefined where it does not answer: it has just started, or is about to end. */
async function ask(url: string): Promise<(Plan & { links: string[] }) | undefined> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(ASK_TIMEOUT_MS) })
    return response.ok ? ((await response.json()) as Plan & { links: string[] }) : undefined
  } catch {
    return undefined
  }
}

/** Nobody, where nobody serves it. */
async function namesInEpmd(port: number): Promise<string[]> {
  try {
    return (await registeredNames({ host: HOST, port, timeoutMs: ASK_TIMEOUT_MS })).map(({ name }) => name)
  } catch (error) {
    if (error instanceof RollcallError && error.code === 'epmd_unreachable') return []
    throw error
  }
}
