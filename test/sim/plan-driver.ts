import { describeError } from '../../core/error.ts'
import type { Observation } from '../../core/member.ts'
import type { NodeName } from '../../core/node.ts'
import type { Plan, PlanInput } from '../../core/plan.ts'
import type { State } from '../../core/state.ts'
import type { Surroundings } from './surroundings.ts'

const ROUND_SPACING_MS = 20
const LOOK_TIMEOUT_MS = 30_000
const MAX_POLL_WAIT_MS = 30_000
const CUT_RETRY_MS = 5_000
const DISPUTE_RETRY_MS = 60_000
const LEAVE_RETRY_MS = 5_000

/**
 * The decision, driven as `agent.ts` and what it uses drive it, but without a promise: some five times faster, for runs of many
 * seeds. That it decides as the real loop does is seen by running both.
 */
export function startPlanning(around: Surroundings): void {
  const inbox: Observation[] = []
  const dials = new Set<NodeName>()
  const cuts = new Map<NodeName, number>()
  let outcomes: NonNullable<PlanInput['outcomes']>[number][] = []
  let state: State | undefined
  let roundAt: number | undefined
  let cancelRound = () => {}
  let lastRoundAt = -Infinity
  let leftAt = -Infinity

  const { after } = around

  /** A round in `ms`, unless one is due before that; rounds keep their distance. */
  function plan(ms: number): void {
    const at = Math.max(around.elapsed() + ms, lastRoundAt + ROUND_SPACING_MS)
    if (roundAt !== undefined && roundAt <= at) return
    cancelRound()
    roundAt = at
    cancelRound = after(at - around.elapsed(), round)
  }

  function round(): void {
    roundAt = undefined
    lastRoundAt = around.elapsed()
    const { self, sources, intervalMs, policy } = around
    const now = around.now()
    const observations = inbox.splice(0)
    const ended = outcomes
    outcomes = []
    const made = around.decide(state, {
      self,
      now,
      links: around.links(),
      topologies: { web: { sources, intervalMs, policy, observations } },
      outcomes: ended,
    })
    state = made.state
    carryOut(made, now)
    plan(Math.min(made.recheckAt - now, intervalMs, ...[...cuts.values()].map((at) => at - now)))
  }

  function carryOut(made: Plan, now: number): void {
    for (const { node } of made.connect) dial(node)
    const unwanted = new Set(made.disconnect.map(({ node }) => node))
    for (const node of cuts.keys()) if (!unwanted.has(node)) cuts.delete(node)
    for (const { node, reason } of made.disconnect) {
      if ((cuts.get(node) ?? 0) > now) continue
      cuts.set(node, Infinity)
      around.cut(node, reason, (error) => {
        const retryMs = error?.code === 'disputed' ? DISPUTE_RETRY_MS : CUT_RETRY_MS
        cuts.set(node, around.now() + (error?.retryAfterMs ?? retryMs))
        plan(0)
      })
    }
    if (!made.leave) leftAt = -Infinity
    else if (around.links().length > 0 && now - leftAt >= LEAVE_RETRY_MS) {
      leftAt = now
      around.leave()
    }
  }

  function dial(node: NodeName): void {
    if (dials.has(node)) return
    dials.add(node)
    around.dial(node, (error) => {
      dials.delete(node)
      outcomes.push({ node, ok: error === undefined, ...(error && { code: error.code }) })
      plan(0)
    })
  }

  function poll(source: string, failures: number): void {
    const { intervalMs, random } = around
    let pending = true
    function deliver(answer: () => Observation): void {
      if (!pending) return
      pending = false
      const observation = observed(source, answer)
      const failed = observation.outcome === 'failed' ? failures + 1 : 0
      const wantedMs = Math.max(
        intervalMs * 2 ** Math.max(0, failed - 1),
        (observation.outcome === 'failed' && observation.error.retryAfterMs) || 0,
      )
      inbox.push(observation)
      plan(0)
      const waitMs = Math.min(wantedMs, Math.max(intervalMs, MAX_POLL_WAIT_MS))
      after(waitMs * (0.8 + 0.2 * random()), () => poll(source, failed))
    }
    around.ask(source, deliver)
    after(LOOK_TIMEOUT_MS, () => {
      deliver(() => {
        throw new Error('no answer within 30 s')
      })
    })
  }

  function observed(source: string, answer: () => Observation): Observation {
    try {
      return answer()
    } catch (error) {
      return { source, at: around.now(), outcome: 'failed', error: describeError(error) }
    }
  }

  around.onLinks(() => plan(0))
  for (const source of around.sources) poll(source, 0)
  plan(0)
}
