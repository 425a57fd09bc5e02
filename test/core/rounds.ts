import type { Member, Observation } from '../../core/member.ts'
import { type Plan, type PlanInput, plan } from '../../core/plan.ts'
import { defaultPolicy, type Policy } from '../../core/policy.ts'
import type { State } from '../../core/state.ts'

/** What a source says in a round: names or members it lists, or that it failed, or only a part. */
export type Answer = readonly (string | Member)[] | { partial: readonly string[] } | 'failed' | 'silent'

/** Names `n1@h` … `nN@h`. */
export function names(count: number, from = 1): string[] {
  return Array.from({ length: count }, (_, index) => `n${from + index}@h`)
}

export function members(nodes: readonly (string | Member)[]): Member[] {
  return nodes.map((node) => (typeof node === 'string' ? { node, status: 'up' } : node))
}

export function observation(source: string, at: number, answer: Exclude<Answer, 'silent'>): Observation {
  if (answer === 'failed') return { source, at, outcome: 'failed', error: { code: 'timeout', message: 'no answer' } }
  if ('partial' in answer) return { source, at, outcome: 'partial', members: members(answer.partial), reason: 'a part' }
  return { source, at, outcome: 'complete', members: members(answer) }
}

type Answers = Record<string, Answer> | readonly (string | Member)[]

/** What {@link agent} gives: the agent's own view, the world around it, and what happened. */
export interface World {
  readonly self: string
  readonly policy: Policy
  readonly intervalMs: number
  now: number
  links: Set<string>
  alive: Set<string>
  /** Links cut and nodes dialled, in order. */
  cuts: string[]
  dials: string[]
  events: Plan['events']
  state: State | undefined
  plan: Plan
  /** Plans once without moving time or the world. */
  decide(answers: Record<string, Answer>, extra?: Partial<PlanInput>): Plan
  /** One interval passes, the sources answer, the plan is carried out. */
  round(answers: Answers, elapsedMs?: number): Plan
  rounds(count: number, answers: Answers): void
  /** A mesh of these nodes, all alive, listed and linked. */
  form(nodes: readonly string[]): void
  eventTypes(): string[]
}

/**
 * One agent in a world in which dials of `alive` nodes succeed before the next round and ordered cuts are made: enough to run
 * the decision for a thousand rounds in a few lines. Deterministic; `now` moves only by `round`.
 */
export function agent(
  options: { self?: string; intervalMs?: number; policy?: Partial<Policy>; now?: number } = {},
): World {
  const self = options.self ?? 'n1@h'
  const intervalMs = options.intervalMs ?? 5_000
  const policy: Policy = { ...defaultPolicy, ...options.policy }
  const world: World = {
    self,
    now: options.now ?? 1_700_000_000_000,
    links: new Set(),
    alive: new Set(),
    cuts: [],
    dials: [],
    events: [],
    state: undefined,
    plan: undefined as unknown as Plan,
    policy,
    intervalMs,
    decide(answers, extra = {}) {
      const observations = Object.entries(answers).flatMap(([source, answer]) =>
        answer === 'silent' ? [] : [observation(source, world.now, answer)],
      )
      const input: PlanInput = {
        self,
        now: world.now,
        links: [...world.links],
        topologies: { web: { sources: Object.keys(answers), intervalMs, policy, observations } },
        ...extra,
      }
      world.plan = plan(world.state, input)
      world.state = world.plan.state
      for (const event of world.plan.events) world.events.push(event)
      return world.plan
    },
    round(answers, elapsedMs = intervalMs) {
      world.now += elapsedMs
      for (const node of world.links) if (!world.alive.has(node)) world.links.delete(node)
      const made = world.decide(Array.isArray(answers) ? { dns: answers } : (answers as Record<string, Answer>))
      for (const { node } of made.connect) {
        world.dials.push(node)
        if (world.alive.has(node)) world.links.add(node)
      }
      for (const { node } of made.disconnect) {
        world.cuts.push(node)
        world.links.delete(node)
      }
      return made
    },
    rounds(count, answers) {
      for (let index = 0; index < count; index++) world.round(answers)
    },
    form(nodes) {
      for (const node of nodes) if (node !== self) world.alive.add(node)
      for (let index = 0; index < 3 + nodes.length / policy.dialsPerRound; index++) world.round(nodes)
    },
    eventTypes() {
      return world.events.map(({ type }) => type)
    },
  }
  return world
}

/** A small deterministic generator (mulberry32): 0 to below 1. */
export function random(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** `count` of the nodes, drawn without replacement. */
export function sample(nodes: readonly string[], count: number, next: () => number): string[] {
  const pool = [...nodes]
  return Array.from(
    { length: Math.min(count, pool.length) },
    () => pool.splice(Math.floor(next() * pool.length), 1)[0] ?? '',
  )
}
