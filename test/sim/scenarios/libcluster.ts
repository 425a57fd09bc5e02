import type { Scenario } from '../scenario.ts'
import { MINUTE, nodes, SECOND } from '../step.ts'

const THREE = nodes(3)
const FIVE = nodes(5)
const [N1, N2, N3] = THREE as [string, string, string]
const AT = 1 * MINUTE
const durationMs = 12 * MINUTE

/** The faults of libcluster 3.5.0 that were measured in meshes of three, as they were set. */
export const libclusterFaults: readonly Scenario[] = [
  {
    name: 'L1 NXDOMAIN once',
    about: 'every node is told for one poll that the name does not exist',
    nodes: THREE,
    steps: [{ at: AT, do: 'source', source: 'dns', fault: { kind: 'empty' }, forMs: 5 * SECOND }],
    durationMs,
  },
  {
    name: 'L2 NXDOMAIN at one node',
    about: 'one node alone is told for one poll that the name does not exist',
    nodes: THREE,
    steps: [{ at: AT, do: 'source', source: 'dns', fault: { kind: 'empty' }, forMs: 5 * SECOND, seenBy: [N1] }],
    durationMs,
  },
  {
    name: 'L3 SERVFAIL',
    about: 'the DNS server fails for 16 s',
    nodes: THREE,
    steps: [{ at: AT, do: 'source', source: 'dns', fault: { kind: 'error' }, forMs: 16 * SECOND }],
    durationMs,
  },
  {
    name: 'L4 a record removed, its node polls on',
    about: 'one record is removed on purpose; its node goes on asking the others',
    nodes: THREE,
    steps: [{ at: AT, do: 'delist', nodes: [N3] }],
    durationMs,
  },
  {
    name: 'L5 a record removed, its node has no agent',
    about: 'one record is removed on purpose; beside its node runs no agent',
    nodes: THREE,
    steps: [{ at: AT, do: 'delist', nodes: [N3] }],
    agentless: [N3],
    durationMs,
  },
  {
    name: 'L6 at most eight answers',
    about: 'DNS gives 8 of 20 at random, for ever (Route 53 multivalue, Cloud Map)',
    nodes: nodes(20),
    steps: [{ at: 0, do: 'source', source: 'dns', fault: { kind: 'sampled', count: 8 }, forMs: 60 * MINUTE }],
    durationMs: 6 * MINUTE,
  },
  {
    name: 'L7 draining',
    about: 'a pod is terminated: it is out of the list at once, and works on for 25 s',
    nodes: FIVE,
    steps: [{ at: AT, do: 'stop', node: N2, drainMs: 25 * SECOND }],
    durationMs,
  },
  {
    name: 'L8 a link lost',
    about: 'a link is cut by hand from one side: all of a mesh of three are isolated',
    nodes: THREE,
    steps: [{ at: AT, do: 'disconnectNode', from: N1, to: N2 }],
    durationMs,
  },
]
