import type { NodeName } from '../../../core/node.ts'
import {
  type ChaosNode,
  follow,
  isOfMesh,
  isRegistered,
  type Loss,
  nodeOn,
  type NodeOptions,
  type Part,
  writeConfig,
} from './node.ts'
import { type LogEntry, type Rollcall, startRollcall } from './rollcall.ts'

/** Starts a member: node, agent and epmd in one process. */
export async function startMember(options: NodeOptions): Promise<ChaosNode> {
  const { host } = options
  const name = nodeOn(host)
  const file = await writeConfig('member', options)
  const pids = new Map<Part, number>()
  const listeners = new Set<(entry: LogEntry) => void>()
  const links = new Set<NodeName>()
  let losses: Loss[] = []
  let agent: Rollcall | undefined

  function onLog(entry: LogEntry): void {
    follow(links, entry)
    const { node: of, msg, message, time } = entry
    if (isOfMesh(of) && msg === 'a link ended') {
      losses.push({ at: Date.parse(String(time)), by: name, of, why: String(message) })
    }
    for (const listener of listeners) listener(entry)
  }

  async function start(): Promise<void> {
    agent = await startRollcall(['--config', file, 'agent'], { host, onLog, upAt: 'is a node of the mesh' })
    pids.set('agent', agent.pid)
  }

  await start()
  return {
    name,
    host,
    kind: 'member',
    sources: options.sources.flatMap(Object.keys),
    pids,
    told: links,
    isRegistered: () => isRegistered(host),
    links: async () => links,
    async takeLosses() {
      const taken = losses
      losses = []
      return taken
    },
    log: () => agent?.log() ?? '',
    async kill() {
      pids.delete('agent')
      await agent?.kill()
      links.clear()
    },
    start,
    onLog(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    async end() {
      await agent?.kill()
    },
  }
}
