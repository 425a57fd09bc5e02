import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Child, lineOf, startNode } from './child.ts'
import { startWorkerd } from './workerd.ts'

/** A function, or what stands in its place, and where it is. */
export interface Serving extends Child {
  readonly url: string
}

/** Where functions run, and the floor of it. */
export interface AgentsHost {
  readonly name: string
  /** Where a registry keeps its leases there. */
  readonly store: string
  /** Serves these topologies. */
  serve(topologies: object, place: Place): Promise<Serving>
  /** Serves what bare-waits.ts has. */
  serveBare(place: Place): Promise<Serving>
}

interface Place {
  readonly root: string
  readonly folder: string
}

const log = { level: 'warn' }

/** As `rollcall serve`. */
export const onNode: AgentsHost = {
  name: 'Node',
  store: 'memory',
  async serve(topologies, { root, folder }) {
    const config = join(folder, 'agents.json')
    await writeFile(config, JSON.stringify({ topologies, log }))
    return await startServer(['agent/cli.ts', 'serve', '--port', '0', '--config', config], root)
  },
  serveBare: ({ root }) => startServer(['test/bench/bare-waits-server.ts'], root),
}

/** As the Worker, in one isolate, whose Durable Objects keep the leases on disk. */
export const onWorkerd: AgentsHost = {
  name: 'workerd',
  store: 'durable-object',
  async serve(topologies, place) {
    const config = JSON.stringify({ topologies, auth: 'none', log })
    return await startWorker({ bindings: [`(name = "ROLLCALL_CONFIG", text = ${JSON.stringify(config)})`] }, place)
  },
  serveBare: (place) => startWorker({ entry: join(place.root, 'test/bench/bare-waits.ts') }, place),
}

async function startServer(args: readonly string[], root: string): Promise<Serving> {
  const child = startNode(args, { root })
  return { ...child, url: await lineOf(child, /http:\/\/127\.0\.0\.1:\d+/) }
}

async function startWorker(
  worker: { entry?: string; bindings?: readonly string[] },
  { root, folder }: Place,
): Promise<Serving> {
  // Each with objects of its own.
  const own = join(folder, worker.entry === undefined ? 'rollcall' : 'bare')
  await mkdir(own, { recursive: true })
  const workerd = await startWorkerd([{ ...worker, name: 'agents', hasObjects: true }], { root, folder: own })
  return { ...workerd, url: workerd.urls.get('agents') ?? '' }
}
