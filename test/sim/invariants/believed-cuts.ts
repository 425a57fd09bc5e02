import type { NodeName } from '../../../core/node.ts'
import type { Plan } from '../../../core/plan.ts'
import type { Finding, Invariant } from '../invariant.ts'
import type { Told } from '../told.ts'
import type { AgentView } from '../world.ts'
import { eachAgent } from './each-agent.ts'

/** (a) Who goes was left out for the grace, or for `confirm` where it is many, or was said to be leaving. */
export const believedCuts: Invariant = {
  name: 'a: only who was left out long enough, or leaves, is cut',
  sentence:
    'A source that consistently leaves out nodes while it lists others than this one is believed: within a budget after a grace, beyond it after a confirmation.',
  watch(world, report) {
    return eachAgent((told, agent, { links }, plan) => {
      const finding = judge(told, agent, new Set(links), plan)
      if (finding !== undefined) report({ ...finding, plan })
    })(world)
  },
}

function judge(told: Told, agent: AgentView, links: ReadonlySet<NodeName>, plan: Plan): Finding | undefined {
  const { self, intervalMs, policy } = agent
  const going = plan.events.flatMap(({ type, node }) => (type === 'member_absent' && node !== undefined ? [node] : []))
  const isBudgeted = going.length > 0 && isWithinBudget(told, agent, links, going)
  const wantedMs = isBudgeted ? Math.max(policy.grace, 3 * intervalMs) : policy.confirm
  // Each answer after the first counts for one interval at most.
  const wanted = 1 + Math.ceil(wantedMs / intervalMs)
  for (const node of going) {
    for (const { left, completes } of told.knowers(node)) {
      const missed = completes - (left.get(node)?.completes ?? completes)
      if (missed >= Math.max(wanted, policy.misses)) continue
      const why = `${missed} answers left it out, ${wanted} are needed`
      return { message: `${self} removes ${node}: ${why} (within the budget: ${isBudgeted})` }
    }
  }
  const decided = new Set([...told.removed, ...going])
  for (const { node, reason } of plan.disconnect) {
    const isTold = told.knowers(node).some(({ leaving, left }) => leaving.has(node) || left.has(node))
    if (reason === 'absent' ? decided.has(node) : isTold) continue
    return { message: `${self} cuts ${node} (${reason}), which nothing that it was told says` }
  }
  const isLeaving = told.knowers(self).some(({ leaving, left }) => leaving.has(self) || left.has(self))
  if (plan.leave && !decided.has(self) && !isLeaving) return { message: `${self} leaves, which nothing says` }
  return undefined
}

function isWithinBudget(
  told: Told,
  { self, policy }: AgentView,
  links: ReadonlySet<NodeName>,
  going: readonly NodeName[],
): boolean {
  const known = told.known()
  known.add(self)
  const absent = [...known].filter((node) => {
    const knowers = told.knowers(node)
    // Who is leaving, or left out by whom nobody is removed for, is no matter for the guard.
    const isOut = knowers.every(({ listed, leaving, outcome, doubted }) => {
      return !listed.has(node) && !leaving.has(node) && outcome === 'complete' && !doubted
    })
    return knowers.length > 0 && isOut && (links.has(node) || node === self) && !told.removed.has(node)
  })
  const recent = told.removedAt.length
  const members = known.size + recent
  return Math.max(absent.length, going.length) + recent <= Math.max(1, Math.floor(policy.budget * members))
}
