import type { Config } from '../core/config.ts'
import { describeError, RollcallError } from '../core/error.ts'
import type { Observation } from '../core/member.ts'
import type { NodeName } from '../core/node.ts'
import { plan as decide, type Plan, type PlanTopology } from '../core/plan.ts'
import { isKnown, type State } from '../core/state.ts'
import type { Log } from '../functions/resolvers/source.ts'
import { systemClock, turn, withDeadline } from './clock.ts'
import { discover, type Discovery } from './discover.ts'
import type { Distribution } from './distributions/distribution.ts'
import { type AgentEvent, type AgentEventType, createEvents, type Listener } from './events.ts'
import { sayFarewell } from './farewell.ts'
import type { OpenSource } from './strategies/index.ts'
import { supervise } from './supervisor.ts'
import { type AgentSeams, openWorld, type World } from './world.ts'

/** Keeps one node in its mesh. */
export interface Agent {
  /** Calls `listener` at each event of the type, or at every one for `*`; gives the undo. */
  on(type: AgentEventType | '*', listener: Listener): () => void
  /** Every event from now on, until the agent stops. */
  events(): AsyncIterableIterator<AgentEvent>
  /** Watches the sources and keeps the mesh until `stop`. Rejects, and ends, where the config cannot work; a node that is down is waited for. */
  start(): Promise<void>
  /** One round now, started or not: asks every source, plans, and dials until all dials have ended or `timeoutMs` (30 s) are over. */
  discover(options?: { timeoutMs?: number }): Promise<Discovery>
  /** Whether a plan was made that knows an outcome of every source. */
  readonly hasRun: boolean
  /** The last plan; undefined before the first. */
  plan(): Plan | undefined
  /** Takes this node out of the mesh; nobody is dialled from then on. Rejects when the mesh could not be left. */
  leave(): Promise<void>
  /** Ends the agent. The mesh stays as it is, unless `leaveOnExit` is set or the agent is the node itself. */
  stop(): Promise<void>
}

const DISCOVER_TIMEOUT_MS = 30_000
const CLOSE_TIMEOUT_MS = 5_000
// At most 50 plans a second, however much happens: a mesh that forms or falls apart is then planned in a few.
const ROUND_SPACING_MS = 20
// Where no source has an interval, lost links are still looked for.
const LIST_INTERVAL_MS = 60_000
const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} }

/** Makes the agent of one node. Nothing happens before `start`, `discover` or `leave`; after any of them it lives until `stop`. */
export function createAgent(config: Config, seams: AgentSeams = {}): Agent {
  const { clock = systemClock, plan = decide } = seams
  const topologies = Object.entries(config.topologies)
  const intervals = topologies.flatMap(([, { intervalMs }]) => (intervalMs > 0 ? [intervalMs] : []))
  const listIntervalMs = intervals.length > 0 ? Math.min(...intervals) : LIST_INTERVAL_MS
  const ended = new AbortController()
  const { signal } = ended
  const tasks: Promise<void>[] = []
  const inbox: { topology: string; observation: Observation; taken: () => void }[] = []
  let log = seams.log ?? SILENT
  const events = createEvents(() => log)
  let opening: Promise<World> | undefined
  let world: World | undefined
  let started: Promise<void> | undefined
  let stopped: Promise<void> | undefined
  let state: State | undefined
  let current: Plan | undefined
  let planError: string | undefined
  let keeping = false
  let leaving = false
  let saysFarewell = false
  let woken = new AbortController()
  let round = Promise.withResolvers<void>()

  const wake = () => woken.abort()
  const isMember = (node: NodeName) => state !== undefined && isKnown(state, node)

  /** THE loop: whatever happens wakes it, and each round goes from what is so towards what should be. */
  async function run(opened: World): Promise<void> {
    while (!signal.aborted) {
      // What comes in one burst is one round; what comes during it is the next.
      await turn()
      woken = new AbortController()
      const links = await opened.mesh.look()
      // Without an answer no plan is made: a mesh that cannot be seen is not an empty one.
      const dueAt = links === undefined ? Infinity : reconcile(links, opened)
      round.resolve()
      round = Promise.withResolvers()
      await clock.sleep(ROUND_SPACING_MS, signal)
      const nextAt = Math.min(dueAt, opened.mesh.retryAt(), clock.now() + listIntervalMs)
      if (!signal.aborted) await clock.sleep(nextAt - clock.now(), woken.signal)
    }
  }

  /** Plans, and starts what the plan orders. Gives when another plan is due though nothing happens. */
  function reconcile(links: NodeName[], { distribution: { self }, mesh, dialler, writer }: World): number {
    const letters = inbox.splice(0)
    const asked = topologies.map(([topology, { sources, intervalMs, policy }]): [string, PlanTopology] => {
      const observations = letters.filter((letter) => letter.topology === topology).map((letter) => letter.observation)
      return [topology, { sources: sources.map(({ id }) => id), intervalMs, policy, observations }]
    })
    const outcomes = dialler.takeOutcomes()
    try {
      current = plan(state, { self, now: clock.now(), links, topologies: Object.fromEntries(asked), leaving, outcomes })
    } catch (error) {
      const described = describeError(error)
      if (described.message !== planError) events.emit({ type: 'plan_failed', ...described })
      planError = described.message
      return Infinity
    } finally {
      for (const { taken } of letters) taken()
    }
    planError = undefined
    state = current.state
    for (const event of current.events) events.emit(event)
    dialler.carryOut(current, mesh.links())
    mesh.keep({ out: current.leave && !saysFarewell })
    writer?.offer(state)
    return Math.min(current.recheckAt, dialler.retryAt())
  }

  /** Puts an observation before the next plan. Resolves when that was made, so that no source runs ahead of the plans. */
  async function deliver({ topology, id }: OpenSource, observation: Observation): Promise<void> {
    if (signal.aborted) return
    const { promise, resolve } = Promise.withResolvers<void>()
    inbox.push({ topology, observation: { ...observation, source: id }, taken: resolve })
    wake()
    await promise
  }

  function watchSource(source: OpenSource): Promise<void> {
    return supervise((own) => source.watch(own), {
      name: source.id,
      signal,
      clock,
      silenceMs: source.silenceMs,
      onItem: (observation) => deliver(source, observation),
      onEnd(thrown) {
        const error = describeError(thrown)
        void deliver(source, { source: source.id, at: clock.now(), outcome: 'failed', error })
      },
    })
  }

  function watchLinks(changes: NonNullable<Distribution['changes']>): Promise<void> {
    return supervise(changes, {
      name: 'distribution',
      signal,
      clock,
      silenceMs: Infinity,
      onItem: wake,
      onEnd(err) {
        log.debug({ err }, 'the stream of link changes ended')
        wake()
      },
    })
  }

  async function open(): Promise<World> {
    if (stopped !== undefined)
      throw new RollcallError('stopped', '[agent] expected an agent that runs, got one that was stopped')
    opening ??= openAll()
    return await opening
  }

  async function openAll(): Promise<World> {
    if (seams.log === undefined) log = (await import('./log.ts')).createLog(config.log.level)
    world = await openWorld(config, seams, { signal, log, events, wake, isMember })
    state = world.state
    tasks.push(run(world))
    const { distribution } = world
    if (distribution.changes !== undefined) tasks.push(watchLinks(distribution.changes.bind(distribution)))
    return world
  }

  async function begin(): Promise<void> {
    try {
      const { mesh, sources } = await open()
      if (config.agent.listen !== undefined) {
        const { serveHealth } = await import('./listen.ts')
        const view = { plan: currentPlan, links: mesh.links, missing, on: events.on, leave }
        const { url, closed } = await serveHealth(config.agent.listen, { view, signal })
        log.info({ url }, 'answers /healthz, /readyz, /metrics and /v1/plan')
        tasks.push(closed)
      }
      keeping = true
      tasks.push(...sources.map(watchSource))
    } catch (error) {
      await stop()
      throw error
    }
  }

  async function leave(): Promise<void> {
    leaving = true
    await depart(await open())
  }

  async function depart({ mesh, dialler, sources }: World): Promise<void> {
    leaving = true
    dialler.recall()
    // Before the links go: who still heard of this node would dial it again.
    saysFarewell = true
    await sayFarewell(sources, { signal, clock, log })
    saysFarewell = false
    wake()
    await mesh.leave()
  }

  async function end(): Promise<void> {
    // Nothing was opened, or opening it failed: whoever asked for it was told.
    const opened = await opening?.catch(() => undefined)
    // Who asked for one round only (cron), or never came so far, does not keep the node in the mesh and does not take it out.
    if (keeping && opened !== undefined && (config.agent.leaveOnExit || opened.distribution.isNode)) {
      await depart(opened).catch(() => undefined) // an event says so
    }
    ended.abort()
    wake()
    for (const { taken } of inbox.splice(0)) taken()
    await Promise.all(tasks)
    round.resolve()
    if (opened !== undefined) await close(opened)
    events.close()
  }

  async function close({ distribution, writer }: World): Promise<void> {
    await writer?.flush()
    const { signal: never } = new AbortController()
    const expected = '[agent] expected the distribution to close'
    try {
      await withDeadline(() => distribution.close(), { ms: CLOSE_TIMEOUT_MS, signal: never, clock, expected })
    } catch (err) {
      log.warn({ err }, 'the distribution did not close')
    }
  }

  function stop(): Promise<void> {
    stopped ??= end()
    return stopped
  }

  function currentPlan(): Plan | undefined {
    return current && (world?.dialler.amend(current) ?? current)
  }

  /** What keeps the agent from being ready. */
  function missing(): string[] {
    const trouble = world?.mesh.trouble()
    if (trouble !== undefined) return [`distribution: ${trouble.code}`]
    return topologies.flatMap(([topology]) => (current?.topologies[topology]?.formed ? [] : [`topology: ${topology}`]))
  }

  return {
    on: events.on,
    events: events.stream,
    start: () => (started ??= begin()),
    async discover({ timeoutMs = DISCOVER_TIMEOUT_MS } = {}) {
      const opened = await open()
      wake()
      return await discover(opened, {
        timeoutMs,
        clock,
        signal,
        plan: () => current,
        deliver,
        nextRound: () => round.promise,
      })
    },
    get hasRun() {
      const reports = Object.values(current?.topologies ?? {})
      return (
        current !== undefined && reports.every(({ sources }) => Object.values(sources).every(({ outcome }) => outcome))
      )
    },
    plan: currentPlan,
    leave,
    stop,
  }
}
