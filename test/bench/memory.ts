import { type ChildProcess, execFile } from 'node:child_process'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Child, startNode } from './child.ts'
import { type Figure, median, type Skipped } from './figure.ts'

const NAME = 'idle agent, beyond an idle Node'
const ROUNDS = 3
// Long enough for the start, the first rounds and the collections after them.
const SETTLE_MS = 5_000

/** VmRSS of the compiled agent with nothing to do, against a Node that has nothing to do either. Linux only: it reads /proc. */
export async function memoryFigures({ root, folder }: { root: string; folder: string }): Promise<(Figure | Skipped)[]> {
  await promisify(execFile)('npm', ['run', 'build', '--silent'], { cwd: root })
  const config = join(folder, 'agent.json')
  const nothing = { connect: ['true'], disconnect: ['true'], list: ['true'] }
  const topologies = { web: { sources: [{ static: { nodes: ['bench@127.0.0.1'] } }] } }
  await writeFile(config, JSON.stringify({ node: 'bench@127.0.0.1', distribution: { exec: nothing }, topologies }))
  const subjects: Memory[] = []
  const floors: Memory[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const agent = startNode(['dist/agent/cli.js', 'agent', '--config', config], { root })
    const idle = startNode(['-e', 'setInterval(() => {}, 60_000)'], { root })
    try {
      const failure = await endOf(agent.process)
      if (failure !== undefined) return [{ name: NAME, skipped: failure }]
      subjects.push(await memoryOf(agent))
      floors.push(await memoryOf(idle))
    } finally {
      await agent.end()
      await idle.end()
    }
  }
  return [
    { ...difference('resident', subjects, floors), aim: { atMost: 15 } },
    // What is its own: the rest are pages of the Node binary, which all processes on the machine share.
    difference('private', subjects, floors),
  ]
}

/** In MB: VmRSS, and RssAnon alone. */
interface Memory {
  readonly resident: number
  readonly private: number
}

function difference(kind: keyof Memory, subjects: readonly Memory[], floors: readonly Memory[]): Figure {
  const [subject, floor] = [median(subjects.map((each) => each[kind])), median(floors.map((each) => each[kind]))]
  return {
    name: `${kind} memory of an ${NAME}`,
    subject: `${subject.toFixed(1)} MB`,
    floor: `${floor.toFixed(1)} MB`,
    value: subject - floor,
    unit: 'MB',
  }
}

/** How the process ended, if it did before it settled. */
async function endOf(process: ChildProcess): Promise<string | undefined> {
  try {
    const [code] = await once(process, 'exit', { signal: AbortSignal.timeout(SETTLE_MS) })
    return `the agent ended with ${code}`
  } catch (error) {
    if (error instanceof Error && error.name === 'AbortError') return undefined
    throw error
  }
}

async function memoryOf({ pid }: Child): Promise<Memory> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  const megabytes = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) / 1024
  return { resident: megabytes('VmRSS'), private: megabytes('RssAnon') }
}
