import { once } from 'node:events'
import { get } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { createAgent } from '../../agent/agent.ts'
import { createKubernetesSource } from '../../agent/strategies/kubernetes.ts'
import { parseConfig } from '../../core/config.ts'
import { createFakeMesh } from '../agent/fakes.ts'
import { type KubernetesServer, startKubernetesServer } from '../agent/strategies/kubernetes-server.ts'
import { type Figure, formatMs, median } from './figure.ts'

const SELF = 'app@10.0.0.0'
const PER_SLICE = 100
const ROUNDS = 40
const WARMUP = 20
// Above the 20 ms that an agent leaves between two plans: here the way of one event is measured, not a crowd's.
const APART_MS = 60

/** From the write of a watch event to the plan that has its member, against the first byte of that event at a bare client. */
export async function kubernetesFigures(): Promise<Figure[]> {
  return [await eventFigure(PER_SLICE), await eventFigure(50 * PER_SLICE)]
}

async function eventFigure(size: number): Promise<Figure> {
  const server = await startKubernetesServer({ namespace: 'bench' })
  for (let first = 0; first < size; first += PER_SLICE) putSlice(server, first, first)
  const kubernetes = { service: 'app', namespace: 'bench', server: server.url }
  const topologies = { bench: { interval: '10m', sources: [{ kubernetes }] } }
  const raw = { node: SELF, topologies, log: { level: 'silent' } }
  const agent = createAgent(parseConfig(raw, { file: 'bench', env: {} }), {
    distribution: createFakeMesh(SELF),
    loadSource: async () => createKubernetesSource(),
  })
  const subjects: number[] = []
  const floors: number[] = []
  try {
    await agent.start()
    await server.requests(2)
    const bare = await watchBare(server)
    // The dials of the beginning are over when all are linked.
    while ((agent.plan()?.hold.length ?? 1) > 0 || !agent.hasRun) await delay(APART_MS)
    for (let round = -WARMUP; round < ROUNDS; round++) {
      // One member goes, and another comes.
      const planned = new Promise<bigint>((resolve) => {
        const off = agent.on('member_listed', () => {
          off()
          resolve(process.hrtime.bigint())
        })
      })
      const received = bare()
      const start = process.hrtime.bigint()
      putSlice(server, 0, size + round + WARMUP)
      const [floor, subject] = await Promise.all([received, planned])
      await delay(APART_MS)
      if (round < 0) continue
      floors.push(Number(floor - start) / 1e6)
      subjects.push(Number(subject - start) / 1e6)
    }
  } finally {
    await agent.stop()
    await server.close()
  }
  const [subjectMs, floorMs] = [median(subjects), median(floors)]
  return {
    name: `Kubernetes event to plan, ${size} endpoints`,
    subject: formatMs(subjectMs),
    floor: formatMs(floorMs),
    value: subjectMs / floorMs,
    unit: 'x',
  }
}

/** A slice whose first endpoint is `head`, and whose others are those after `first`. */
function putSlice(server: KubernetesServer, first: number, head: number): void {
  const hosts = [head, ...Array.from({ length: PER_SLICE - 1 }, (_, index) => first + index + 1)]
  server.put({
    metadata: { name: `app-${first}`, labels: { 'kubernetes.io/service-name': 'app' } },
    addressType: 'IPv4',
    endpoints: hosts.map((host) => ({
      addresses: [`10.${host >> 16}.${(host >> 8) & 255}.${host & 255}`],
      conditions: { ready: true, serving: true, terminating: false },
      targetRef: { kind: 'Pod', namespace: 'bench', name: `app-${host}`, uid: `00000000-0000-0000-0000-${host}` },
    })),
  })
}

/** A client that reads and understands nothing; gives what resolves at the next bytes. */
async function watchBare({ url, collection, version }: KubernetesServer): Promise<() => Promise<bigint>> {
  const asked = get(`${url}${collection}?watch=true&resourceVersion=${version()}`, { agent: false })
  const [stream] = await once(asked, 'response')
  let next = Promise.withResolvers<bigint>()
  stream.on('data', () => next.resolve(process.hrtime.bigint()))
  stream.on('error', () => undefined)
  return () => {
    next = Promise.withResolvers()
    return next.promise
  }
}
