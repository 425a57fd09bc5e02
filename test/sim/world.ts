import type { NodeName } from '../../core/node.ts'
import type { Plan, PlanInput } from '../../core/plan.ts'
import { defaultPolicy, type Policy } from '../../core/policy.ts'
import type { State } from '../../core/state.ts'
import { type Beam, CUT, createBeam, type DialEnd } from './beam.ts'
import { between, chance } from './chance.ts'
import { createEvictions } from './evictions.ts'
import { createFate } from './fate.ts'
import { createHistory, type History } from './history.ts'
import { createMachine, type Machine, on } from './machine.ts'
import { createNetwork, type Network } from './network.ts'
import { createPlatform, type Platform } from './platform.ts'
import type { Scenario } from './scenario.ts'
import { createSource, type SimulatedSource } from './source.ts'
import type { Decide, Surroundings } from './surroundings.ts'
import { createTime, type Time } from './time.ts'

/** How agents decide and cut in a run: rollcall, or a peer in its place. */
export interface Contender {
  readonly name: string
  /** A decision with a memory of its own, one for each agent. */
  decide(): Decide
  /** `own_agent`: a node's own agent takes it out. `disconnect_node`: the link is cut from one side. */
  readonly cutting: 'own_agent' | 'disconnect_node'
}

/** An agent as those who watch the run see it. */
export interface AgentView {
  readonly self: NodeName
  readonly machine: Machine
  readonly policy: Policy
  readonly intervalMs: number
  readonly startedAt: number
  plan: Plan | undefined
}

/** Who is told of what happens in a run. */
export interface Witness {
  /** An agent began, without any memory or with that of the one before. */
  began?(agent: AgentView, keepsState: boolean): void
  planned?(agent: AgentView, input: PlanInput, plan: Plan): void
  /** No plan was made. */
  threw?(agent: AgentView, error: unknown): void
  linkChanged?(a: NodeName, b: NodeName, up: boolean, why: string): void
  dialled?(from: NodeName, to: NodeName): void
  /** An agent ends the link to a node, or takes it out. */
  cut?(from: NodeName, to: NodeName): void
  /** The last fault of the network has ended. */
  healed?(): void
  /** Once a virtual minute. */
  minute?(): void
}

/** All there is in a run. */
export interface World {
  readonly scenario: Scenario
  readonly time: Time
  readonly history: History
  readonly network: Network
  readonly platform: Platform
  readonly beam: Beam
  readonly sources: ReadonlyMap<string, SimulatedSource>
  readonly machines: ReadonlyMap<NodeName, Machine>
  readonly agents: ReadonlyMap<NodeName, AgentView>
  readonly witnesses: Witness[]
  /** Since when nothing happened to the world and nothing is wrong with it; Infinity while something is. */
  readonly calmSince: () => number
  /** Since when nothing is wrong with the network; Infinity while something is. */
  readonly networkWellSince: () => number
}

export interface WorldOptions {
  seed: number
  contender: Contender
  startDriver: (around: Surroundings) => void
}

// Where all clocks begin: any instant does, but 0 would hide a mistake with unset times.
const EPOCH_MS = 1_700_000_000_000
// How far apart the nodes of a scenario start.
const START_SPREAD_MS = 3_000

/** Makes the world of a scenario; it lives when its time runs. */
export function createWorld(scenario: Scenario, { seed, contender, startDriver }: WorldOptions): World {
  const time = createTime()
  const { now } = time
  const history = createHistory(now)
  const machines = new Map<NodeName, Machine>()
  const agents = new Map<NodeName, AgentView>()
  const listeners = new Map<NodeName, Set<(node: NodeName, up: boolean) => void>>()
  const states = new Map<NodeName, State>()
  const witnesses: Witness[] = []
  const agentless = new Set(scenario.agentless)
  const platform = createPlatform(now)
  const network = createNetwork(() => beam.recheck(), time.after)
  const beam = createBeam({
    time,
    network,
    machine: (node) => machines.get(node),
    random: chance(seed, 'beam'),
    changed: noteLink,
    kind: scenario.mesh ?? 'beam',
  })
  const sources = new Map(
    Object.entries(scenario.sources ?? { dns: {} }).map(([id, options]) => {
      return [id, createSource(id, options, { platform, now, random: chance(seed, 'source', id) })]
    }),
  )
  const policy = { ...defaultPolicy, ...scenario.policy }
  const intervalMs = scenario.intervalMs ?? 5_000
  let lives = 0

  function noteLink(a: NodeName, b: NodeName, up: boolean, why: string): void {
    history.note(`${up ? 'link' : 'lost'} ${a} ${b}: ${why}`)
    for (const witness of witnesses) witness.linkChanged?.(a, b, up, why)
    for (const [node, peer] of [
      [a, b],
      [b, a],
    ] as const) {
      const machine = machines.get(node)
      if (machine === undefined) continue
      on(machine, () => {
        for (const listener of listeners.get(node) ?? []) listener(peer, up)
      })
    }
  }

  function start(node: NodeName): void {
    end(node, 'down')
    const machine = createMachine(node, `life-${++lives}`, now())
    machines.set(node, machine)
    platform.list(node, machine.id)
    if (!agentless.has(node)) startAgent(machine, true)
  }

  function startAgent(machine: Machine, keepState: boolean): void {
    const { node } = machine
    listeners.set(node, new Set())
    if (!keepState) states.delete(node)
    const view: AgentView = { self: node, machine, policy, intervalMs, startedAt: now(), plan: undefined }
    agents.set(node, view)
    for (const witness of witnesses) witness.began?.(view, states.has(node))
    startDriver(surroundings(view))
  }

  function end(node: NodeName, power: 'down' | 'off'): void {
    const machine = machines.get(node)
    agents.delete(node)
    listeners.delete(node)
    if (machine === undefined || machine.power !== 'up') return
    machine.power = power
    beam.recheck()
  }

  function surroundings(view: AgentView): Surroundings {
    const { self, machine } = view
    const random = chance(seed, 'agent', self, machine.id)
    const decide = contender.decide()
    const wallClock = () => EPOCH_MS + now() + machine.clockOffsetMs
    // An agent that was ended in the middle of something does nothing any more, whatever it waits for.
    const isCurrent = () => agents.get(self) === view
    const here = (run: () => void) => on(machine, () => void (isCurrent() && run()))
    const evictions = createEvictions(wallClock)
    listeners.get(self)?.add((node, up) => void (up && evictions.noteUp(node)))

    function cut(node: NodeName, reason: string, ended: DialEnd): void {
      if (!isCurrent()) return
      history.note(`cut ${self} ${node}: ${reason}`)
      // Nobody asks a member: one closed connection takes nobody else along.
      if (contender.cutting === 'disconnect_node' || scenario.mesh === 'members') {
        for (const witness of witnesses) witness.cut?.(self, node)
        beam.disconnectNode(self, node, `${self} ${CUT} ${node}`)
        return ended()
      }
      const refusal = evictions.refusal(node)
      if (refusal !== undefined) return ended(refusal)
      const target = machines.get(node)
      time.after(2 * network.latencyMs(), () =>
        here(() => {
          if (target?.power !== 'up' || target.paused || !network.talks(self, node)) {
            return ended({ code: 'timeout', message: `${node} cannot be asked: its tick ends it` })
          }
          if (reason === 'absent' && agents.has(node)) {
            return ended({ code: 'disputed', message: `${node} has an agent of its own` })
          }
          evictions.note(node)
          for (const witness of witnesses) witness.cut?.(self, node)
          beam.leave(node)
          ended()
        }),
      )
    }

    return {
      self,
      sources: [...sources.keys()],
      intervalMs,
      policy,
      now: wallClock,
      elapsed: now,
      random,
      after: (ms, run) => time.after(ms, () => here(run)),
      ask(id, ended) {
        const asked = sources.get(id)?.ask(self, wallClock())
        if (asked === undefined || asked.ms === Infinity) return
        time.after(asked.ms, () => here(() => ended(asked.answer)))
      },
      links: () => [...beam.links(self)].sort(),
      onLinks(listener) {
        const own = listeners.get(self)
        own?.add(listener)
        return () => void own?.delete(listener)
      },
      dial(node, ended) {
        if (!isCurrent()) return
        history.note(`dial ${self} ${node}`)
        for (const witness of witnesses) witness.dialled?.(self, node)
        beam.dial(self, node, (error) => here(() => ended(error)))
      },
      cut,
      leave() {
        if (!isCurrent()) return
        history.note(`leave ${self}`)
        beam.leave(self)
      },
      decide(state, input) {
        const made = attempt(view, () => decide(state ?? states.get(self), input))
        if (!isCurrent()) return made
        states.set(self, made.state)
        view.plan = made
        for (const { type, node, source } of made.events) history.note(`${self} ${type} ${node ?? source ?? ''}`)
        for (const witness of witnesses) witness.planned?.(view, input, made)
        return made
      },
    }
  }

  /** The agent lives on without a plan: nobody else would hear of it. */
  function attempt(view: AgentView, decide: () => Plan): Plan {
    try {
      return decide()
    } catch (error) {
      for (const witness of witnesses) witness.threw?.(view, error)
      throw error
    }
  }

  function minute(): void {
    for (const witness of witnesses) witness.minute?.()
    time.after(60_000, minute)
  }

  const fate = createFate({
    time,
    history,
    machines,
    agents,
    platform,
    network,
    sources,
    beam,
    start,
    startAgent,
    end,
    healed() {
      for (const witness of witnesses) witness.healed?.()
    },
  })
  const spread = chance(seed, 'start')
  for (const node of scenario.nodes) time.after(between(0, START_SPREAD_MS, spread), () => start(node))
  for (const step of scenario.steps) time.after(step.at, () => fate.take(step))
  time.after(60_000, minute)
  return {
    scenario,
    time,
    history,
    network,
    platform,
    beam,
    sources,
    machines,
    agents,
    witnesses,
    calmSince: fate.calmSince,
    networkWellSince: fate.networkWellSince,
  }
}
