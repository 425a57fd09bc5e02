import { basenameOf } from '../core/node.ts'
import type { Plan } from '../core/plan.ts'

/** What is known of one node at one moment. */
export interface NodeView {
  readonly name: string
  /** Absent: it does not run. */
  readonly pid?: number | undefined
  /** Those that it is linked to. */
  readonly links: readonly string[]
  /** Whose links it has lost since it started, one entry for each time. */
  readonly losses: readonly string[]
  /** Whether it can be looked up. */
  readonly isInEpmd: boolean
  /** Whether it is the one that serves epmd for all. */
  readonly servesEpmd: boolean
  /** Absent: it has told none yet. */
  readonly plan?: Pick<Plan, 'connect' | 'disconnect' | 'hold'> | undefined
}

/** What keeps the nodes `wanted` from being a mesh, all linked to each other and to nobody else; nothing when they are one. */
export function missing(nodes: readonly NodeView[], wanted: readonly string[]): string[] {
  const asked = nodes.filter(({ name }) => wanted.includes(name))
  const gaps = asked.flatMap(({ name, pid, links, isInEpmd }) => {
    if (pid === undefined) return [`${name} does not run`]
    const unlinked = wanted.filter((peer) => peer !== name && !links.includes(peer))
    const strange = links.filter((peer) => !wanted.includes(peer))
    return [
      ...unlinked.map((peer) => `${name} is not linked to ${peer}`),
      ...strange.map((peer) => `${name} is still linked to ${peer}`),
      ...(isInEpmd ? [] : [`epmd does not know ${name}`]),
    ]
  })
  const isServed = asked.length === 0 || asked.some(({ servesEpmd }) => servesEpmd)
  return isServed ? gaps : [...gaps, 'nobody serves epmd']
}

/** How many links from some nodes to some others were lost between two moments. */
export function countLosses(
  [before, after]: readonly [readonly NodeView[], readonly NodeView[]],
  { from, to }: { from: readonly string[]; to: readonly string[] },
): number {
  const count = (nodes: readonly NodeView[]) => {
    const losses = nodes.flatMap((node) => (from.includes(node.name) ? node.losses : []))
    return losses.filter((peer) => to.includes(peer)).length
  }
  return count(after) - count(before)
}

/** What a node's plan orders and holds, and why. With `now`, ms since the Unix epoch, also for how long. */
export function describePlan({ pid, plan }: NodeView, now?: number): string {
  if (pid === undefined) return ''
  if (plan === undefined) return 'no plan yet'
  const verbs = ['connect', 'disconnect', 'hold'] as const
  const parts = verbs.flatMap((verb) => {
    const alike = Map.groupBy<string, Step>(plan[verb], ({ reason }) => reason)
    return [...alike].map(([reason, steps]) => {
      const names = steps.map(({ node }) => basenameOf(node)).join(' ')
      return `${verb} ${names}: ${reason}${describeWait(steps, now)}`
    })
  })
  return parts.length === 0 ? 'nothing to do' : parts.join('; ')
}

/** A node in one line, which changes only when the mesh does. */
export function describeNode(node: NodeView): string {
  const { name, pid, links, isInEpmd, servesEpmd } = node
  if (pid === undefined) return `${name} is gone`
  const linked = links.length === 0 ? 'linked to nobody' : `linked to ${links.join(' ')}`
  const epmd = servesEpmd ? 'serves epmd' : isInEpmd ? 'is in epmd' : 'not in epmd'
  return `${name} (pid ${pid}) ${linked}, ${epmd}, ${describePlan(node)}`
}

interface Step {
  readonly node: string
  readonly reason: string
  readonly until?: number
}

function describeWait(steps: readonly Step[], now: number | undefined): string {
  if (now === undefined) return ''
  const waits = steps.flatMap(({ until = now }) => (until > now ? [Math.ceil((until - now) / 1_000)] : []))
  return waits.length === 0 ? '' : `, ${Math.min(...waits)} s`
}
