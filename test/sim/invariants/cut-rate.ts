import type { Invariant } from '../invariant.ts'

const WINDOW_MS = 60_000
// An agent that cuts again waits 5 s; who was cut has a penalty by then, and waits longer to come back.
const ALLOWED = 13

/** (k) Who is cut and comes back is not cut again at once: what agents disagree about must not become a storm of links. */
export const cutRate: Invariant = {
  name: 'k: a link is not cut and made without end',
  sentence: 'An eviction that is undone within a minute doubles the wait before the next.',
  watch({ time }, report) {
    const cuts = new Map<string, number[]>()
    return {
      cut(self, node) {
        const key = `${self} ${node}`
        const recent = (cuts.get(key) ?? []).filter((at) => at > time.now() - WINDOW_MS)
        cuts.set(key, recent)
        if (recent.push(time.now()) <= ALLOWED) return
        report({ message: `${self} cut ${node} ${recent.length} times in a minute` })
      },
    }
  },
}
