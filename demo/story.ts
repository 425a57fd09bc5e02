import { setTimeout } from 'node:timers/promises'
import { RollcallError } from '../core/error.ts'
import type { Mesh } from './mesh.ts'
import type { Screen } from './screen.ts'
import { countLosses, missing, type NodeView } from './view.ts'

/** What the story is played with. */
export interface Stage {
  readonly mesh: Mesh
  readonly names: readonly string[]
  readonly screen: Screen
  /** Ends it wherever it is: what is awaited rejects. */
  readonly signal: AbortSignal
}

// Fine enough for the times that are told; a look is one short request to each node.
const LOOK_MS = 100

/** The mesh forms, loses the node that serves epmd, heals, and is whole again, as it is given. Rejects when links of the others went too. */
export async function playStory(stage: Stage): Promise<NodeView[]> {
  const { mesh, names, screen } = stage
  screen.tell('starts the function, which knows who should be in the mesh')
  const { pid } = await mesh.startFunction()
  screen.tell(`the function (pid ${pid}) answers at ${mesh.url}`)
  screen.tell(`starts ${names.length} nodes that ask it; the configs are in ${mesh.folder}`)
  const startedAt = performance.now()
  const formed = await gather(stage)
  const server = formed.find(({ servesEpmd }) => servesEpmd)
  if (server === undefined) throw new RollcallError('not_formed', '[demo] expected a node to serve epmd, got none')
  screen.tell(`formed after ${since(startedAt)}: all are linked to all, and ${server.name} serves epmd`)
  await pause(stage)
  screen.tell(`kills ${server.name}, which serves epmd: kill -9 ${server.pid}`)
  await mesh.kill(server.name)
  return await heal(stage, formed)
}

/** Heals a mesh that is whole from whatever somebody else kills, until the signal. */
export async function stayLive(stage: Stage, whole: NodeView[]): Promise<never> {
  const { screen } = stage
  screen.tell('goes on: kill -9 one of the pids, and watch')
  for (let before = whole; ; ) {
    const after = await follow(stage, (nodes) => gone(nodes).length > 0)
    screen.tell(`${gone(after).join(' and ')} ended, and not by this demo`)
    before = await heal(stage, before)
  }
}

/** Watches those that are left close the gap, then starts again who is gone. */
async function heal(stage: Stage, before: readonly NodeView[]): Promise<NodeView[]> {
  const { mesh, screen } = stage
  const lostAt = performance.now()
  const healed = await follow(stage, (nodes) => missing(nodes, running(nodes)).length === 0 && isNoticed(before, nodes))
  const survivors = running(healed)
  const losses = countLosses([before, healed], { from: survivors, to: survivors })
  if (losses > 0) {
    const message = `[demo] expected the links among ${survivors.join(', ')} to stand, got ${losses} that ended`
    throw new RollcallError('not_healed', message)
  }
  const server = healed.find(({ servesEpmd }) => servesEpmd)
  if (server === undefined) screen.tell('nobody is left')
  else screen.tell(`healed after ${since(lostAt)}: ${server.name} serves epmd, and the other links stood`)
  await pause(stage)
  const startedAt = performance.now()
  screen.tell(`starts ${gone(await mesh.look()).join(' and ')} again`)
  const whole = await gather(stage)
  screen.tell(`whole again after ${since(startedAt)}: all are linked to all`)
  return whole
}

/** Starts who does not run until all are one mesh. */
async function gather(stage: Stage): Promise<NodeView[]> {
  const { mesh, names, screen } = stage
  for (;;) {
    await mesh.startFunction()
    for (const name of gone(await mesh.look())) mesh.startNode(name)
    const nodes = await follow(stage, (nodes) => gone(nodes).length > 0 || missing(nodes, names).length === 0)
    if (gone(nodes).length === 0) return nodes
    for (const name of gone(nodes)) screen.tell(`${name} ended: ${mesh.endOf(name)}`)
    await pause(stage)
  }
}

/** Shows the mesh until it is as wanted. */
async function follow({ mesh, screen, signal }: Stage, isReached: (nodes: NodeView[]) => boolean): Promise<NodeView[]> {
  for (;;) {
    const nodes = await mesh.look()
    signal.throwIfAborted()
    screen.show(nodes)
    if (isReached(nodes)) return nodes
    await setTimeout(LOOK_MS, undefined, { signal })
  }
}

async function pause(stage: Stage): Promise<void> {
  const until = performance.now() + stage.screen.readingMs
  await follow(stage, () => performance.now() >= until)
}

function running(nodes: readonly NodeView[]): string[] {
  return nodes.flatMap(({ name, pid }) => (pid === undefined ? [] : [name]))
}

/** Whether each that is left has said that it lost each that is gone: only then does it count that it said no more. */
function isNoticed(before: readonly NodeView[], nodes: readonly NodeView[]): boolean {
  const isLost = (from: string, to: string) => countLosses([before, nodes], { from: [from], to: [to] }) > 0
  return running(nodes).every((from) => gone(nodes).every((to) => isLost(from, to)))
}

function gone(nodes: readonly NodeView[]): string[] {
  return nodes.flatMap(({ name, pid }) => (pid === undefined ? [name] : []))
}

function since(startedAt: number): string {
  return `${Math.round(performance.now() - startedAt)} ms`
}
