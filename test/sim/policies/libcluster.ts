import type { NodeName } from '../../../core/node.ts'
import type { Contender } from '../world.ts'
import { namesOf, onAnswers } from './answered.ts'

/**
 * libcluster 3.5.0's poll loop, as DNSPoll, Kubernetes.DNS and Rancher have it: an error is an empty answer, whoever was in the
 * answer before and is not in this one is cut at once, with `erlang:disconnect_node/1`. Kinder than the original: it dials in parallel.
 */
export const libcluster: Contender = {
  name: 'libcluster',
  cutting: 'disconnect_node',
  decide() {
    let meant = new Set<NodeName>()
    return onAnswers((observation) => {
      const answered = new Set(namesOf(observation))
      const disconnect = [...meant].filter((node) => !answered.has(node))
      meant = answered
      return { connect: [...answered], disconnect }
    })
  },
}
