import { writeFile } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { createClient } from '../../functions/client.ts'
import { type Child, lineOf, startNode } from './child.ts'
import { type Figure, formatMs } from './figure.ts'

const AGENTS = 1_000
const PROCESSES = 4
const WAIT_MS = 25_000
const INTERVAL_MS = 5_000
// Each agent's wait ends once in it, so all of them have asked.
const QUIET_MS = 25_000
const ROUNDS = 10

/**
 * 1000 agents of one topology on Node: how often its upstream is asked, what an agent costs on the wire while nothing changes, and how
 * long it takes until the last has heard of a registration. The floor of the last is one that waits alone.
 */
export async function agentsFigures({ root, folder }: { root: string; folder: string }): Promise<Figure[]> {
  const upstream = await countAsks()
  const config = join(folder, 'agents.json')
  const source = { dns: { query: 'web.internal', types: ['A'], basename: 'app', server: upstream.server } }
  const quiet = { interval: INTERVAL_MS, sources: [source] }
  const registered = { interval: INTERVAL_MS, sources: [{ registry: { ttl: '10m' } }] }
  await writeFile(config, JSON.stringify({ topologies: { quiet, registered }, log: { level: 'warn' } }))
  const started: Child[] = []
  try {
    const served = startNode(['agent/cli.ts', 'serve', '--port', '0', '--config', config], { root })
    started.push(served)
    const url = await lineOf(served, /http:\/\/127\.0\.0\.1:\d+/)
    const [asks, bytes] = await quietFigures({ url, root, upstream, started })
    const alone = await knowingMs({ url, root, agents: 1, processes: 1, started })
    const all = await knowingMs({ url, root, agents: AGENTS, processes: PROCESSES, started })
    const [p99, floor] = [at(all, 0.99), at(alone, 0.99)]
    const knowing: Figure = {
      name: `a registration, until the last of ${AGENTS} agents knows (p99 of ${ROUNDS})`,
      subject: formatMs(p99),
      floor: formatMs(floor),
      // Of the second that it may take.
      value: p99 / 1_000,
      unit: 'x',
      aim: { atMost: 1 },
    }
    return [asks, bytes, knowing]
  } finally {
    for (const child of started) await child.end()
    await upstream.close()
  }
}

interface Quiet {
  url: string
  root: string
  upstream: Upstream
  started: Child[]
}

async function quietFigures({ url, root, upstream, started }: Quiet): Promise<[Figure, Figure]> {
  const wire = await countBytes(url)
  try {
    const peers = await startPeers({ url: wire.url, root, topology: 'quiet', agents: AGENTS, processes: PROCESSES })
    started.push(...peers)
    const [askedBefore, bytesBefore] = [upstream.asked(), wire.bytes()]
    const startedAt = performance.now()
    await delay(QUIET_MS)
    const elapsedMs = performance.now() - startedAt
    const asked = ((upstream.asked() - askedBefore) * INTERVAL_MS) / elapsedMs
    const bytes = (wire.bytes() - bytesBefore) / AGENTS / (elapsedMs / 1_000)
    for (const peer of peers) await peer.end()
    return [
      {
        name: `asks upstream per interval, ${AGENTS} agents`,
        subject: asked.toFixed(2),
        floor: '1',
        value: asked,
        unit: 'x',
        // One at either end of the time.
        aim: { atMost: 1.2 },
      },
      {
        name: 'bytes per agent and second, nothing changes',
        subject: `${bytes.toFixed(0)} bytes`,
        floor: '0',
        value: bytes,
        unit: 'bytes',
        aim: { atMost: 100 },
      },
    ]
  } finally {
    await wire.close()
  }
}

interface Knowing {
  url: string
  root: string
  agents: number
  processes: number
  started: Child[]
}

/** How long each registration took until the last agent had heard of it, in ms. */
async function knowingMs({ url, root, agents, processes, started }: Knowing): Promise<number[]> {
  const heard = new Map<string, { count: number; all: PromiseWithResolvers<number> }>()
  const entryOf = (revision: string) => {
    const entry = heard.get(revision) ?? { count: 0, all: Promise.withResolvers<number>() }
    heard.set(revision, entry)
    return entry
  }
  const peers = await startPeers({ url, root, topology: 'registered', agents, processes }, (line) => {
    const [word, revision = '', time] = line.split(' ')
    if (word !== 'heard') return
    const entry = entryOf(revision)
    if (++entry.count === agents) entry.all.resolve(Number(time))
  })
  started.push(...peers)
  const client = createClient({ url, topology: 'registered' })
  const times: number[] = []
  // The first round warms up.
  for (let round = -1; round < ROUNDS; round++) {
    const sentAt = performance.timeOrigin + performance.now()
    const node = `app@10.${agents % 256}.0.${round + 1}`
    const { revision } = await client.register({ node, id: String(sentAt) })
    const heardAt = await entryOf(revision).all.promise
    if (round >= 0) times.push(heardAt - sentAt)
    // All wait again.
    await delay(500)
  }
  for (const peer of peers) await peer.end()
  return times
}

interface Peers {
  url: string
  root: string
  topology: string
  agents: number
  processes: number
}

async function startPeers(
  { url, root, topology, agents, processes }: Peers,
  onLine: (line: string) => void = () => undefined,
): Promise<Child[]> {
  const each = String(agents / processes)
  const peers = Array.from({ length: processes }, () =>
    startNode(['test/bench/agents-peer.ts', url, topology, each, String(WAIT_MS)], { root }),
  )
  for (const { process: child } of peers) {
    if (child.stdout !== null) createInterface(child.stdout).on('line', onLine)
  }
  await Promise.all(peers.map((peer) => lineOf(peer, /^ready$/)))
  // Who has listed once asks again, and then waits.
  await delay(1_000)
  return peers
}

interface Upstream {
  /** As the `server` of a dns source takes it. */
  readonly server: string
  asked(): number
  close(): Promise<void>
}

/** A DNS server over HTTP that names nobody anew, and counts. */
async function countAsks(): Promise<Upstream> {
  const { startUpstream } = await import('../contract/upstream.ts')
  const upstream = await startUpstream()
  upstream.say('web.internal', ['10.0.0.1', '10.0.0.2'])
  return {
    server: upstream.server,
    asked: () => upstream.asked('web.internal'),
    close: () => upstream.close(),
  }
}

/** A way to the function that counts what goes over it, both ways. */
async function countBytes(url: string): Promise<{ url: string; bytes: () => number; close: () => Promise<void> }> {
  const { port } = new URL(url)
  let bytes = 0
  const sockets = new Set<Socket>()
  const server: Server = createServer((near) => {
    const far = connect(Number(port), '127.0.0.1')
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from)
      from.on('data', (chunk: Buffer) => (bytes += chunk.length))
      from.on('error', () => to.destroy())
      from.on('close', () => to.destroy())
      from.pipe(to)
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('expected a TCP port')
  return {
    url: `http://127.0.0.1:${address.port}`,
    bytes: () => bytes,
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

function at(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN
}
