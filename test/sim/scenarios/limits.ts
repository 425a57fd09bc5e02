import type { Scenario } from '../scenario.ts'
import { MINUTE, nodes, SECOND, type Step } from '../step.ts'

const TEN = nodes(10)
const [, N2, N3, N4] = TEN as [string, string, string, string]
const TWO = nodes(2) as [string, string]
const AT = 2 * MINUTE

/** Left out for 10 s and back for 10 s, again and again, from `at` on. */
function flaps(node: string, at: number, count: number): Step[] {
  return Array.from({ length: count }, (_, index) => ({
    at: at + index * 20 * SECOND,
    do: 'source' as const,
    source: 'dns',
    fault: { kind: 'omitting' as const, nodes: [node] },
    forMs: 10 * SECOND,
  }))
}

/** Two records that flap at once hold all removals of their source while they do. */
export const twoFlap: Scenario = {
  name: 'limit: two records flap',
  about: 'two records come and go while a third is removed on purpose: it is removed only when they have stopped',
  nodes: TEN,
  steps: [...flaps(N2, AT, 40), ...flaps(N3, AT, 40), { at: AT + 1 * MINUTE, do: 'delist', nodes: [N4] }],
  durationMs: 40 * MINUTE,
}

/** A removed node that is alive stays linked if the agents' state is lost meanwhile. */
export const stateLost: Scenario = {
  name: 'limit: state lost',
  about: 'a node is taken out of the list, and every agent is started anew without its state before the grace is over',
  nodes: TEN,
  steps: [
    { at: AT, do: 'delist', nodes: [N4] },
    ...TEN.map((node): Step => ({ at: AT + 20 * SECOND, do: 'restartAgent', node, keepState: false })),
  ],
  durationMs: 30 * MINUTE,
}

/** A removed node that is alive stays linked in a mesh of two without an agent of its own. */
export const meshOfTwo: Scenario = {
  name: 'limit: mesh of two',
  about: 'one of two nodes, without an agent, is taken out of the list: what is left lists nobody else, and is doubted',
  nodes: TWO,
  steps: [{ at: AT, do: 'delist', nodes: [TWO[1]] }],
  agentless: [TWO[1]],
  durationMs: 30 * MINUTE,
}

/** One dead source of two keeps the other from removing live nodes, until it is taken out of the config. */
export const deadSource: Scenario = {
  name: 'limit: a dead source of two',
  about: 'one of two sources fails for ever; a node that both listed is taken out of the list',
  nodes: TEN,
  sources: { dns: {}, old: {} },
  steps: [
    { at: AT, do: 'source', source: 'old', fault: { kind: 'error' }, forMs: 600 * MINUTE },
    { at: AT + 1 * MINUTE, do: 'delist', nodes: [N4] },
  ],
  durationMs: 30 * MINUTE,
}
