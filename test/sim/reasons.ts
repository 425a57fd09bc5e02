import type { Metrics } from './metrics.ts'

const LOST =
  'a lost link is dialled again after 0.25 s and then ever later; a poll dials once an interval, and so less often at first'

const GRACE = 'the grace of a minute passes first: one answer, or a flap, is no removal'

const general: Partial<Record<keyof Metrics, string>> = {
  dials: LOST,
  wrongMeshMs:
    'after several losses a peer waits up to maxWait (10 s) before it is dialled; those that poll wait 5 s, however often it failed',
  convergeMs: 'the wait after several failed dials is up to maxWait (10 s); those that poll wait 5 s',
}

const special: Record<string, Partial<Record<keyof Metrics, string>>> = {
  'F3 empty and true': {
    dials: 'an answer that lists nobody else is doubted: the dead are dialled, ever less often, until confirm is over',
  },
  'F4 half dead': { dials: `${LOST}; here the dead are still listed for 10 s` },
  'L4 a record removed, its node polls on': {
    wrongMeshMs: GRACE,
    convergeMs: GRACE,
    dials: 'an agent that has not decided yet dials the node that has left once more',
  },
  'L5 a record removed, its node has no agent': {
    wrongMeshMs: GRACE,
    convergeMs: GRACE,
    dials: 'an agent that has not decided yet dials the node that has left once more',
  },
}

/** Why another policy is better than rollcall in a scenario by one measure. */
export function reasons(scenario: string, measure: keyof Metrics): string {
  return special[scenario]?.[measure] ?? general[measure] ?? 'not known: look into it'
}
