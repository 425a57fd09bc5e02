import type { NodeName } from '../../../core/node.ts'
import type { Invariant } from '../invariant.ts'

const WINDOW_MS = 60_000
// A limit that docs/decision.md states: who was forgotten and is named again is dialled with the shortest waits again. Where every other
// answer names it, each 5 s, a minute has seven of those at most, and six dials fit before the next.
const ALLOWED_IF_FORGOTTEN = 42

/** (g) At most `dialsPerRound` dials under way, and a peer that does not answer is dialled ever less often. */
export const dialRate: Invariant = {
  name: 'g: dials stay under the policy',
  sentence:
    'Each failed dial or lost link adds to a penalty, and the wait before the next dial grows with it up to maxWait.',
  watch({ time }, report) {
    // Per agent and peer: when it was dialled, and how often a link to it came up, which ends the wait.
    const dials = new Map<string, number[]>()
    const ups = new Map<string, number[]>()
    const forgotten = new Map<string, number[]>()

    function recent(all: Map<string, number[]>, key: string): number[] {
      const kept = (all.get(key) ?? []).filter((at) => at > time.now() - WINDOW_MS)
      all.set(key, kept)
      return kept
    }

    function noteUp(node: NodeName, peer: NodeName): void {
      recent(ups, `${node} ${peer}`).push(time.now())
    }

    return {
      began({ self }) {
        for (const key of dials.keys()) if (key.startsWith(`${self} `)) dials.delete(key)
      },
      linkChanged(a, b, up) {
        if (!up) return
        noteUp(a, b)
        noteUp(b, a)
      },
      planned({ self, policy }, _input, plan) {
        const underWay = plan.connect.length + plan.hold.filter(({ reason }) => reason === 'dialling').length
        if (underWay > policy.dialsPerRound) report({ message: `${self} has ${underWay} dials under way`, plan })
        for (const { type, node } of plan.events) {
          if (type === 'member_forgotten') recent(forgotten, `${self} ${node}`).push(time.now())
        }
        for (const { node } of plan.connect) {
          const key = `${self} ${node}`
          const made = recent(dials, key)
          made.push(time.now())
          // The first six waits add up to less than maxWait; from then on each is half of it at least.
          const usual = 7 + WINDOW_MS / (policy.maxWait / 2) + 2 * recent(ups, key).length
          const allowed = recent(forgotten, key).length > 0 ? Math.max(usual, ALLOWED_IF_FORGOTTEN) : usual
          if (made.length > allowed)
            report({ message: `${self} dialled ${node} ${made.length} times in a minute`, plan })
        }
      },
    }
  },
}
