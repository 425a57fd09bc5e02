import type { Scenario } from '../scenario.ts'
import { MINUTE, nodes, SECOND, type Step } from '../step.ts'

const TEN = nodes(10)
const [N1, N2, N3, N4] = TEN as [string, string, string, string]
const NEW = nodes(3, 11)
const AT = 2 * MINUTE

/** A mesh of ten for 16 minutes, unless said otherwise. */
function ten(name: string, about: string, steps: Step[], more: Partial<Scenario> = {}): Scenario {
  return { name, about, nodes: TEN, steps, durationMs: 16 * MINUTE, ...more }
}

function source(fault: Extract<Step, { do: 'source' }>['fault'], forMs: number, at = AT): Step {
  return { at, do: 'source', source: 'dns', fault, forMs }
}

const rollingDeploy = TEN.flatMap((node, index): Step[] => [
  { at: AT + index * 15 * SECOND, do: 'stop', node, drainMs: 5 * SECOND },
  { at: AT + index * 15 * SECOND + 8 * SECOND, do: 'start', node },
])

/** How discovery fails: one scenario for each row of the catalogue of failures, in its order. */
export const failures: readonly Scenario[] = [
  ten('F1 error', 'the source fails for 8 minutes', [source({ kind: 'error' }, 8 * MINUTE)]),
  ten('F2 empty', 'the source says nobody, with success, for 8 minutes', [source({ kind: 'empty' }, 8 * MINUTE)]),
  ten('F3 empty and true', 'all but one are scaled to nothing: their hosts vanish and the list is empty', [
    ...TEN.slice(1).map((node): Step => ({ at: AT, do: 'powerOff', node, unlistMs: 1 * SECOND })),
    { at: AT, do: 'delist', nodes: [N1] },
  ]),
  ten('F4 half removed', 'half of the nodes are taken out of the list on purpose, and go on running', [
    { at: AT, do: 'delist', nodes: TEN.slice(5) },
  ]),
  ten(
    'F4 half dead',
    'half of the nodes die, and are unlisted 10 s later',
    TEN.slice(5).map((node): Step => ({ at: AT, do: 'powerOff', node, unlistMs: 10 * SECOND })),
  ),
  ten('F5 truncated', 'the answer is the first page only, and says so', [
    source({ kind: 'partial', count: 4 }, 8 * MINUTE),
  ]),
  ten('F5 sampled', 'the answer is 8 of 10 at random, and says that it is all', [
    source({ kind: 'sampled', count: 8 }, 8 * MINUTE),
  ]),
  ten('F6 malformed', 'a record is no node name', [
    source({ kind: 'adding', nodes: ['no name', '@', 'a@b@c'] }, 8 * MINUTE),
  ]),
  ten(
    'F7 everything',
    'the filter matches everything: 100 names of others, cut at maxMembers',
    [source({ kind: 'adding', nodes: Array.from({ length: 100 }, (_, index) => `other@10.8.0.${index}`) }, 3 * MINUTE)],
    { policy: { maxMembers: 30 } },
  ),
  ten('F8 together', 'two nodes start at the same moment', [], { nodes: nodes(2), durationMs: 5 * MINUTE }),
  ten('F9 wrong side', 'a partition, and replacements start on its smaller side', [
    {
      at: AT,
      do: 'network',
      fault: { kind: 'partition', left: [...TEN.slice(7), ...NEW], right: TEN.slice(0, 7) },
      forMs: 10 * MINUTE,
    },
    ...NEW.map((node): Step => ({ at: AT + 1 * MINUTE, do: 'start', node })),
  ]),
  ten('F10 partition', 'five and five cannot hear each other for 10 minutes', [
    {
      at: AT,
      do: 'network',
      fault: { kind: 'partition', left: TEN.slice(5), right: TEN.slice(0, 5) },
      forMs: 10 * MINUTE,
    },
  ]),
  ten('F11 left out for a deploy', 'the source leaves out a live node for 50 s', [
    source({ kind: 'omitting', nodes: [N4] }, 50 * SECOND),
  ]),
  ten('F11 rolling deploy', 'each node ends and starts again under its name, one after the other', rollingDeploy),
  ten(
    'F12 silently dead',
    'the source never answers, and says nothing of it, for 8 minutes; a link is lost meanwhile',
    [source({ kind: 'hang' }, 8 * MINUTE), { at: AT + 5 * MINUTE, do: 'disconnectNode', from: N1, to: N2 }],
  ),
  ten(
    'F13 storm',
    'nobody can hear anybody for 2 minutes, three times: every link is lost, and all are dialled at once',
    [0, 1, 2].flatMap((time) => {
      const at = AT + time * 5 * MINUTE
      return TEN.map((node): Step => {
        const right = TEN.filter((other) => other !== node)
        return { at, do: 'network', fault: { kind: 'partition', left: [node], right }, forMs: 2 * MINUTE }
      })
    }),
  ),
  ten('F14 old news', 'the source repeats what it said when it began, with its true age, while a node is replaced', [
    source({ kind: 'stale' }, 10 * MINUTE),
    { at: AT + 1 * MINUTE, do: 'crash', node: N3, unlistMs: 10 * SECOND },
    { at: AT + 1 * MINUTE, do: 'start', node: NEW[0] ?? '' },
  ]),
  ten('F15 zombie', 'a node is killed and stays listed for 8 minutes', [
    { at: AT, do: 'powerOff', node: N3, unlistMs: 8 * MINUTE },
  ]),
  ten('F16 flapping', 'one way of one node comes and goes each 50 s, and 80% of all packets are lost for 2 minutes', [
    {
      at: AT,
      do: 'network',
      fault: { kind: 'flapping', left: [N2], right: TEN.filter((node) => node !== N2), periodMs: 100 * SECOND },
      forMs: 10 * MINUTE,
    },
    { at: AT + 3 * MINUTE, do: 'network', fault: { kind: 'loss', share: 0.8 }, forMs: 2 * MINUTE },
  ]),
  ten('F16 one way', 'what one node says reaches nobody; what others say reaches it', [
    {
      at: AT,
      do: 'network',
      fault: { kind: 'oneWay', from: [N2], to: TEN.filter((node) => node !== N2) },
      forMs: 5 * MINUTE,
    },
  ]),
  ten(
    'F17 slow observer',
    'a node stands still for 70 s, three times',
    [0, 1, 2].map((time): Step => ({ at: AT + time * 4 * MINUTE, do: 'pause', node: N2, forMs: 70 * SECOND })),
  ),
  ten('F18 twice', 'the answer names a node twice, and the asker itself', [
    source({ kind: 'adding', nodes: [N2, N2, N1] }, 8 * MINUTE),
  ]),
  ten(
    'F19 drain',
    'a third of the nodes are drained: the source says that they are leaving',
    TEN.slice(7).map((node): Step => ({ at: AT, do: 'stop', node, drainMs: 90 * SECOND })),
    { sources: { dns: { saysLeaving: true, givesIds: true } } },
  ),
  ten(
    'F20 sleep and jump',
    'a node sleeps for 20 minutes, others have their clock moved by an hour either way',
    [
      { at: AT, do: 'pause', node: N2, forMs: 20 * MINUTE },
      { at: AT, do: 'jump', node: N3, byMs: 60 * MINUTE },
      { at: AT + 1 * MINUTE, do: 'jump', node: N4, byMs: -60 * MINUTE },
      source({ kind: 'omitting', nodes: [N1] }, 30 * SECOND),
    ],
    { durationMs: 26 * MINUTE },
  ),
  ten('F21 throttled', 'the source asks to be left alone for a minute, again and again', [
    source({ kind: 'throttled', retryAfterMs: 60 * SECOND }, 8 * MINUTE),
  ]),
  ten('F22 boot', 'thirty nodes start at once', [], { nodes: nodes(30), durationMs: 5 * MINUTE }),
  ten(
    'F23 address reused',
    'a node ends, and another takes its address within 10 s',
    [
      { at: AT, do: 'stop', node: N3, drainMs: 5 * SECOND },
      { at: AT + 10 * SECOND, do: 'start', node: N3 },
    ],
    { sources: { dns: { givesIds: true, saysLeaving: true } } },
  ),
  ten('F24 protected outage', 'half of the nodes are left out by mistake for 4 minutes', [
    source({ kind: 'omitting', nodes: TEN.slice(5) }, 4 * MINUTE),
  ]),
]
