import { connect, createServer, type Server, type Socket } from 'node:net'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { createClient } from '../../functions/client.ts'
import { startUpstream, type Upstream } from '../contract/upstream.ts'
import { type AgentsHost, onNode, onWorkerd } from './agents-hosts.ts'
import { listedMs } from './agents-listed.ts'
import { type Child, lineOf, startNode } from './child.ts'
import { type Figure, formatMs } from './figure.ts'

const AGENTS = 1_000
const PROCESSES = 4
const WAIT_MS = 25_000
const INTERVAL_MS = 5_000
// Each agent's wait ends once in it, so all of them have asked.
const QUIET_MS = 25_000
// Each agent asks three times in it.
const POLLED_MS = 15_000
const ROUNDS = 10

interface Place {
  readonly root: string
  readonly folder: string
}

/** Where an agent asks, and how many of them do. */
interface Asking {
  readonly url: string
  readonly root: string
  readonly started: Child[]
}

/**
 * 1000 agents of one topology, on Node and on workerd: how often its upstream is asked, what an agent costs on the wire while nothing
 * changes, and how long it takes until the last has heard of a registration. The floor of that is as many, held by something that
 * does nothing else.
 */
export async function agentsFigures(place: Place): Promise<Figure[]> {
  return [...(await hostFigures(onNode, place)), ...(await hostFigures(onWorkerd, place))]
}

async function hostFigures(host: AgentsHost, place: Place): Promise<Figure[]> {
  const { root } = place
  const upstream = await startUpstream()
  const dns = (query: string) => ({ dns: { query, types: ['A'], basename: 'app', server: upstream.server } })
  const registry = { registry: { ttl: '10m', store: host.store } }
  const topologies = {
    quiet: { interval: INTERVAL_MS, sources: [dns('quiet.internal'), registry] },
    polled: { interval: INTERVAL_MS, sources: [dns('polled.internal')] },
    registered: { interval: INTERVAL_MS, sources: [registry] },
  }
  for (const name of ['quiet.internal', 'polled.internal']) upstream.say(name, ['10.0.0.1', '10.0.0.2'])
  const started: Child[] = []
  try {
    const served = await host.serve(topologies, place)
    started.push(served)
    const bare = await host.serveBare(place)
    started.push(bare)
    const asking = { url: served.url, root, started }
    const figures = await quietFigures({ ...asking, topology: 'quiet', forMs: QUIET_MS }, { host, upstream })
    // Who may not wait asks at each interval.
    if (host === onWorkerd) {
      figures.push(...(await quietFigures({ ...asking, topology: 'polled', forMs: POLLED_MS }, { host, upstream })))
    }
    const known = { subject: await knowingMs(asking), floor: await knowingMs({ ...asking, url: bare.url }) }
    const listing = { agents: AGENTS, rounds: ROUNDS }
    const listed = { subject: await listedMs(served.url, listing), floor: await listedMs(bare.url, listing) }
    return [
      ...figures,
      knowingFigure(`${host.name}: a registration, until the last of ${AGENTS} agents knows (p99 of ${ROUNDS})`, known),
      knowingFigure(`${host.name}: the same, until it is answered, ${AGENTS} members listed`, listed),
    ]
  } finally {
    for (const child of started) await child.end()
    await upstream.close()
  }
}

function knowingFigure(name: string, times: { subject: readonly number[]; floor: readonly number[] }): Figure {
  const [subject, floor] = [at(times.subject, 0.99), at(times.floor, 0.99)]
  // The value is of the second that it may take.
  return {
    name,
    subject: formatMs(subject),
    floor: formatMs(floor),
    value: subject / 1_000,
    unit: 'x',
    aim: { atMost: 1 },
  }
}

interface Quiet extends Asking {
  readonly topology: 'quiet' | 'polled'
  readonly forMs: number
}

async function quietFigures(
  { url, root, started, topology, forMs }: Quiet,
  { host, upstream }: { host: AgentsHost; upstream: Upstream },
): Promise<Figure[]> {
  const wire = await countBytes(url)
  try {
    const peers = await startPeers({ url: wire.url, root, topology })
    started.push(...peers)
    const query = `${topology}.internal`
    const [askedBefore, bytesBefore] = [upstream.asked(query), wire.bytes()]
    const startedAt = performance.now()
    await Promise.race([delay(forMs), failureOf(peers)])
    const elapsedMs = performance.now() - startedAt
    const asks = upstream.asked(query) - askedBefore
    // Nobody asked is no good figure: nothing would ever change.
    if (asks === 0) throw new Error(`expected ${query} to be asked for in ${forMs} ms, got no ask`)
    const asked = (asks * INTERVAL_MS) / elapsedMs
    const bytes = (wire.bytes() - bytesBefore) / AGENTS / (elapsedMs / 1_000)
    for (const peer of peers) await peer.end()
    const isPolled = topology === 'polled'
    return [
      {
        name: `${host.name}: asks upstream per interval, ${AGENTS} agents${isPolled ? ' that poll' : ''}`,
        subject: asked.toFixed(2),
        floor: '1',
        value: asked,
        unit: 'x',
        // One at either end of the time.
        aim: { atMost: 1 + INTERVAL_MS / forMs },
      },
      {
        name: `${host.name}: bytes per agent and second, nothing changes${isPolled ? ', polled' : ''}`,
        subject: `${bytes.toFixed(0)} bytes`,
        floor: '0',
        value: bytes,
        unit: 'bytes',
        // The aim is that of the long poll.
        ...(!isPolled && { aim: { atMost: 100 } }),
      },
    ]
  } finally {
    await wire.close()
  }
}

/** How long each registration took until the last agent had heard of it, in ms. */
async function knowingMs({ url, root, started }: Asking): Promise<number[]> {
  const heard = new Map<string, { count: number; all: PromiseWithResolvers<number> }>()
  const entryOf = (revision: string) => {
    const entry = heard.get(revision) ?? { count: 0, all: Promise.withResolvers<number>() }
    heard.set(revision, entry)
    return entry
  }
  const peers = await startPeers({ url, root, topology: 'registered' }, (line) => {
    const [word, revision = '', time] = line.split(' ')
    if (word !== 'heard') return
    const entry = entryOf(revision)
    if (++entry.count === AGENTS) entry.all.resolve(Number(time))
  })
  started.push(...peers)
  const failure = failureOf(peers)
  const client = createClient({ url, topology: 'registered' })
  const times: number[] = []
  // The first round warms up.
  for (let round = -1; round < ROUNDS; round++) {
    const sentAt = performance.timeOrigin + performance.now()
    const { revision } = await client.register({ node: `app@10.0.0.${round + 1}`, id: String(sentAt) })
    const heardAt = await Promise.race([entryOf(revision).all.promise, failure])
    if (round >= 0) times.push(heardAt - sentAt)
    // All wait again.
    await delay(500)
  }
  for (const peer of peers) await peer.end()
  return times
}

interface Peers {
  readonly url: string
  readonly root: string
  readonly topology: string
}

type Peer = ReturnType<typeof startNode>

async function startPeers(
  { url, root, topology }: Peers,
  onLine: (line: string) => void = () => undefined,
): Promise<Peer[]> {
  const args = [url, topology, AGENTS / PROCESSES, WAIT_MS, INTERVAL_MS].map(String)
  const peers = Array.from({ length: PROCESSES }, () => startNode(['test/bench/agents-peer.ts', ...args], { root }))
  for (const { process: child } of peers) {
    if (child.stdout !== null) createInterface(child.stdout).on('line', onLine)
  }
  await Promise.all(peers.map((peer) => lineOf(peer, /^ready$/)))
  // Who has listed once asks again, and then waits.
  await delay(1_000)
  return peers
}

/** Rejects when one of them ends: the others would be waited for in vain. */
function failureOf(peers: readonly Peer[]): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>()
  for (const { process: child } of peers) child.once('exit', () => reject(new Error('expected agents, got their end')))
  // In the end they are ended.
  promise.catch(() => undefined)
  return promise
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
