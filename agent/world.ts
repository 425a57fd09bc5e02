import type { Config, SourceConfig } from '../core/config.ts'
import { RollcallError } from '../core/error.ts'
import type { NodeName } from '../core/node.ts'
import type { plan } from '../core/plan.ts'
import type { State } from '../core/state.ts'
import type { Log, Source } from '../functions/resolvers/source.ts'
import { type Clock, systemClock } from './clock.ts'
import { createDialler, type Dialler } from './dialler.ts'
import type { Distribution } from './distributions/distribution.ts'
import { openDistribution } from './distributions/index.ts'
import type { Events } from './events.ts'
import { createMesh, type Mesh } from './mesh.ts'
import { ageState, createStateWriter, readState, type StateWriter } from './state-file.ts'
import { type OpenSource, openSource } from './strategies/index.ts'

/** What the agent uses of the world, each with a real default. */
export interface AgentSeams {
  /** On stderr by default, at the config's level. */
  log?: Log
  /** The one that the config names, by default. */
  distribution?: Distribution
  /** Gives the code of a configured source; by its kind, by default. */
  loadSource?: (source: SourceConfig) => Promise<Source<unknown>>
  clock?: Clock
  plan?: typeof plan
}

/** What an agent has open while it lives. */
export interface World {
  readonly log: Log
  readonly distribution: Distribution
  readonly mesh: Mesh
  readonly dialler: Dialler
  readonly sources: readonly OpenSource[]
  /** What an earlier run left. */
  readonly state: State | undefined
  readonly writer: StateWriter | undefined
}

export interface WorldOptions {
  signal: AbortSignal
  log: Log
  events: Events
  wake: () => void
  /** Whether a source lists the node, or did. */
  isMember: (node: NodeName) => boolean
}

/** Opens everything that the config names; what can be wrong in it comes before what has to be closed again. */
export async function openWorld(config: Config, seams: AgentSeams, options: WorldOptions): Promise<World> {
  const { clock = systemClock, loadSource: load } = seams
  const { signal, log, events, wake, isMember } = options
  const self = config.node ?? seams.distribution?.self ?? (await import('./config.ts')).findSelf(config, process.env)
  if (self === undefined) {
    const message =
      '[config] node: expected the name of this node here, in ROLLCALL_NODE or in RELEASE_NODE, got nothing'
    throw new RollcallError('config', message)
  }
  const { emit } = events
  let opened: Distribution | undefined
  // The sources are opened first, and are asked when all is open.
  const address = () => opened?.address
  const topologies = Object.entries(config.topologies)
  const opening = topologies.flatMap(([topology, { sources, intervalMs }]) =>
    sources.map((source) =>
      openSource(source, { topology, intervalMs, self, address, log, clock, ...(load && { load }) }),
    ),
  )
  const sources = await Promise.all(opening)
  const file = config.agent.state
  const left = file === undefined ? undefined : await readState(file, log)
  const distribution = seams.distribution ?? (await openDistribution(config, { self, log }))
  opened = distribution
  // The core may take a dial for dead at the shortest of them: no dial should outlive that.
  const dialTimeoutMs = Math.min(...topologies.map(([, { policy }]) => policy.dialTimeout))
  return {
    log,
    distribution,
    mesh: createMesh({ distribution, clock, signal, emit, isMember }),
    dialler: createDialler({ distribution, clock, signal, dialTimeoutMs, emit, wake }),
    sources,
    state: left && ageState(left, { now: clock.now(), topologies: config.topologies }),
    writer: file === undefined ? undefined : createStateWriter(file, { signal, clock, log }),
  }
}
