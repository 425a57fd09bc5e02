import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { freePorts } from '../../demo/free-ports.ts'
import { type Program, startProgram } from '../../demo/program.ts'
import { until } from './until.ts'

const HOST = '127.0.0.1'

interface Told {
  links: string[]
  topologies: { web: { sources: { function: { outcome: string; staleSince?: number; members: number } } } }
}

test('two members that are both started anew while their function is down find each other by what they kept', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'rollcall-restart-'))
  const running: Program[] = []
  t.after(async () => {
    await Promise.all(running.map((program) => program.kill()))
    await rm(folder, { recursive: true })
  })
  const [epmdPort, functionPort, adaPort, bobPort] = await freePorts(4)
  const ports = { ada: adaPort, bob: bobPort }
  const nodes = Object.keys(ports).map((name) => `${name}@${HOST}`)
  const lines: Record<string, unknown>[] = []
  const hint = () => JSON.stringify(lines.slice(-20))

  async function start(name: string, config: object, args: readonly string[]): Promise<Program> {
    const file = join(folder, `${name}.json`)
    await writeFile(file, JSON.stringify(config))
    const program = startProgram(['--config', file, ...args], { onLog: (line) => void lines.push({ name, ...line }) })
    running.push(program)
    return program
  }

  async function startMember(name: keyof typeof ports): Promise<Program> {
    const source = { url: `http://${HOST}:${functionPort}`, timeout: '1s' }
    const config = {
      node: `${name}@${HOST}`,
      distribution: { beam: { mode: 'member', cookie: 'restart', epmd: { port: epmdPort } } },
      topologies: { web: { interval: '200ms', sources: [{ function: source }] } },
      agent: { listen: `${HOST}:${ports[name]}`, state: join(folder, `${name}.state`) },
    }
    return await start(name, config, ['agent'])
  }

  async function planOf(name: keyof typeof ports): Promise<Told> {
    const response = await fetch(`http://${HOST}:${ports[name]}/v1/plan`)
    return (await response.json()) as Told
  }

  async function untilLinked(): Promise<void> {
    const isLinked = async () => {
      const [ada, bob] = await Promise.all([planOf('ada'), planOf('bob')])
      return ada.links.join() === nodes[1] && bob.links.join() === nodes[0]
    }
    await until('ada and bob to be linked', isLinked, { hint })
  }

  const served = { topologies: { web: { interval: '200ms', sources: [{ static: { nodes } }] } } }
  const teller = await start('function', served, ['serve', '--port', String(functionPort)])
  const first = await Promise.all([startMember('ada'), startMember('bob')])
  await untilLinked()
  await Promise.all(first.map((member) => member.stop()))
  await teller.stop()

  const before = Date.now()
  await Promise.all([startMember('ada'), startMember('bob')])
  await untilLinked()
  const isStale = async () => (await planOf('ada')).topologies.web.sources.function.outcome === 'failed'
  await until('ada to see that its function is down', isStale, { hint })
  const { members, staleSince = Infinity } = (await planOf('ada')).topologies.web.sources.function
  assert.equal(members, 2)
  assert.ok(staleSince < before, `${staleSince} is before ${before}`)
})
