import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Child, startNode } from './child.ts'
import { type Figure, median, type Skipped } from './figure.ts'

const NAME = 'resident memory of an idle agent, beyond an idle Node'
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
  const subjects: number[] = []
  const floors: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const agent = startNode(['dist/agent/cli.js', 'agent', '--config', config], { root })
    const idle = startNode(['-e', 'setInterval(() => {}, 60_000)'], { root })
    try {
      const ended = once(agent.process, 'exit', { signal: AbortSignal.timeout(SETTLE_MS) }).then(
        ([code]) => `the agent ended with ${code}`,
        () => undefined,
      )
      const failure = await ended
      if (failure !== undefined) return [{ name: NAME, skipped: failure }]
      subjects.push(await residentMegabytes(agent))
      floors.push(await residentMegabytes(idle))
    } finally {
      await agent.end()
      await idle.end()
    }
  }
  const [subject, floor] = [median(subjects), median(floors)]
  return [
    {
      name: NAME,
      subject: `${subject.toFixed(1)} MB`,
      floor: `${floor.toFixed(1)} MB`,
      value: subject - floor,
      unit: 'MB',
      aim: { atMost: 15 },
    },
  ]
}

async function residentMegabytes({ pid }: Child): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(status) ?? []
  return Number(kilobytes) / 1024
}
