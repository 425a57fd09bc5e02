import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { NodeName } from '../../../core/node.ts'
import type { Host } from '../namespaces.ts'
import type { LogEntry } from './rollcall.ts'
import { AGENT_PORT, BASENAME, COOKIE, EPMD_PORT, INTERVAL_MS, POLICY, TOPOLOGY } from './settings.ts'

/** A link that ended, as one of its two ends saw it. */
export interface Loss {
  readonly at: number
  readonly by: NodeName
  readonly of: NodeName
  readonly why: string
}

/** What runs on a host for its node. A member is its own agent and its own epmd. */
export type Part = 'erl' | 'agent' | 'epmd'

/** What the process of a part is called. */
export function programOf({ kind }: Pick<ChaosNode, 'kind'>, part: Part): string {
  if (part !== 'agent') return part
  return kind === 'member' ? 'member' : 'sidecar'
}

/** A node of the mesh on a host of its own. */
export interface ChaosNode {
  readonly name: NodeName
  readonly host: Host
  readonly kind: 'erlang' | 'member'
  /** The kinds of source that its agent asks. */
  readonly sources: readonly string[]
  /** Whom it is linked to now, by what the node itself says: an Erlang node is asked, not its sidecar. */
  links(): Promise<ReadonlySet<NodeName>>
  /** Whom its agent sees linked. */
  readonly told: ReadonlySet<NodeName>
  /** Whether its epmd knows it; false where none answers. */
  isRegistered(): Promise<boolean>
  /** The links that it lost since it was asked last. */
  takeLosses(): Promise<Loss[]>
  /** The process ids of what runs. */
  readonly pids: ReadonlyMap<Part, number>
  log(): string
  kill(part: Part): Promise<void>
  start(part: Part): Promise<void>
  /** Calls back at each line of the agent's log; gives the undo. */
  onLog(listener: (entry: LogEntry) => void): () => void
  end(): Promise<void>
}

export interface NodeOptions {
  readonly host: Host
  readonly folder: string
  readonly sources: readonly object[]
  /** Where the agent keeps its state. */
  readonly state: string
}

/** The name of the node on a host. */
export const nodeOn = ({ address }: Host): NodeName => `${BASENAME}@${address}`

/** Whether this is a node of the mesh; a sidecar that looks why its node was turned away shakes hands as another, `rollcall-app@…`. */
export const isOfMesh = (node: unknown): node is NodeName => typeof node === 'string' && node.startsWith(`${BASENAME}@`)

/** Keeps the set of those that the events of an agent say are linked. */
export function follow(told: Set<NodeName>, { type, node }: LogEntry): void {
  if (!isOfMesh(node)) return
  if (type === 'nodeup') told.add(node)
  if (type === 'nodedown') told.delete(node)
}

/** Whether the epmd of a host knows its node. Asynchronously, for the epmd may be writing to this process. */
export async function isRegistered({ enter }: Host): Promise<boolean> {
  const [program, ...args] = [...enter, 'epmd', '-port', String(EPMD_PORT), '-names']
  try {
    const { stdout } = await promisify(execFile)(program, args)
    return stdout.includes(`name ${BASENAME} at port `)
  } catch (error) {
    // Nobody answered.
    if ((error as { code?: unknown }).code === 1) return false
    throw error
  }
}

/** Writes the config of its agent; gives the place. */
export async function writeConfig(
  mode: 'sidecar' | 'member',
  { host, folder, sources, state }: NodeOptions,
): Promise<string> {
  const file = join(folder, `${host.address}.json`)
  const config = {
    node: nodeOn(host),
    distribution: { beam: { mode, cookie: COOKIE } },
    topologies: { [TOPOLOGY]: { interval: INTERVAL_MS, sources, policy: POLICY } },
    agent: { listen: `${host.address}:${AGENT_PORT}`, state },
    // A member tells of each link that ends at this level.
    log: { level: 'debug' },
  }
  await writeFile(file, JSON.stringify(config))
  return file
}
