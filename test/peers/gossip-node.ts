import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { createAgent } from '../../agent/agent.ts'
import type { Distribution } from '../../agent/distributions/distribution.ts'
import { parseConfig } from '../../core/config.ts'
import { RollcallError } from '../../core/error.ts'
import { hostOf, type NodeName } from '../../core/node.ts'
import type { Log } from '../../functions/resolvers/source.ts'

// A node in a process: an agent over gossip, and a mesh of plain TCP links. It prints what happens as JSON lines, and ends with its stdin.

const PORT = 7_000
const PING_MS = 100
// How soon a link over a cable that was taken out is noticed.
const DEAD_MS = 1_000

/** Links that are alive as long as something comes through them. */
async function createTcpMesh(self: NodeName): Promise<Distribution> {
  // Two that dial each other at once have two sockets; to choose one, each could choose the other's.
  const links = new Map<Socket, NodeName>()

  function keep(node: NodeName, socket: Socket): void {
    links.set(socket, node)
    let heardAt = performance.now()
    const pinging = setInterval(() => {
      if (performance.now() - heardAt > DEAD_MS) socket.destroy()
      else socket.write('\n')
    }, PING_MS)
    socket.on('data', () => (heardAt = performance.now()))
    socket.on('close', () => {
      clearInterval(pinging)
      links.delete(socket)
    })
  }

  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy())
    createInterface(socket).once('line', (node) => keep(node, socket))
  }).listen(PORT)
  await once(server, 'listening')

  return {
    self,
    list: async () => [...new Set(links.values())],
    async connect(node, { signal }) {
      const socket = connect(PORT, hostOf(node))
      socket.on('error', () => socket.destroy())
      const abort = () => socket.destroy()
      signal.addEventListener('abort', abort, { once: true })
      try {
        await once(socket, 'connect', { signal })
      } catch (cause) {
        throw new RollcallError('unreachable', `[test] expected ${node} to answer, got ${String(cause)}`, { cause })
      } finally {
        signal.removeEventListener('abort', abort)
      }
      socket.write(`${self}\n`)
      keep(node, socket)
    },
    async disconnect(node) {
      for (const [socket, other] of links) if (other === node) socket.destroy()
    },
    async leave() {
      for (const socket of links.keys()) socket.destroy()
    },
    async close() {
      server.close()
      for (const socket of links.keys()) socket.destroy()
    },
  }
}

function print(line: object): void {
  process.stdout.write(`${JSON.stringify({ at: Date.now(), ...line })}\n`)
}

const [self = '', gossip = '{}', policy = '{}'] = process.argv.slice(2)
const raw = {
  node: self,
  topologies: { web: { interval: 250, sources: [{ gossip: JSON.parse(gossip) }], policy: JSON.parse(policy) } },
}
const warn = (fields: object, message: string) => print({ type: 'warning', ...fields, message })
const log: Log = { debug: () => undefined, info: () => undefined, warn, error: warn }
const agent = createAgent(parseConfig(raw, { file: 'test', env: {} }), { log, distribution: await createTcpMesh(self) })
agent.on('*', ({ type, node }) => print({ type, node }))
print({ type: 'starting' })
await agent.start()
for await (const line of createInterface(process.stdin)) if (line === 'leave') await agent.leave()
await agent.stop()
