import type { Invariant } from '../invariant.ts'
import type { SourceTold } from '../told.ts'
import { eachAgent } from './each-agent.ts'

/** (b) Failed, partial and doubted answers cut nobody, however long. */
export const silentSources: Invariant = {
  name: 'b: failed, partial and doubted answers cut nobody',
  sentence: 'A source that fails or goes silent cuts nobody. A source that answers nobody, or a sample, cuts nobody.',
  watch(world, report) {
    return eachAgent((told, { self, policy }, _input, plan) => {
      for (const { type, node } of plan.events) {
        if (type !== 'member_absent' || node === undefined) continue
        for (const [id, source] of told.sources) {
          if (!source.left.has(node) && !source.listed.has(node)) continue
          const doubt = doubtOf(source, self, world.time.now() - policy.confirm)
          if (doubt === undefined) continue
          report({ message: `${self} removes ${node} though ${id} ${doubt}`, plan })
        }
      }
      const going = plan.disconnect.flatMap(({ node, reason }) => (reason === 'leaving' ? [node] : []))
      if (plan.leave && !told.removed.has(self)) going.push(self)
      for (const node of going) {
        const sayers = told.knowers(node).filter(({ leaving }) => leaving.has(node))
        const areSilent = sayers.length > 0 && sayers.every(({ outcome }) => outcome === 'failed')
        if (areSilent) report({ message: `${self} takes out ${node}, and who said that it is leaving fails`, plan })
      }
    })(world)
  },
}

function doubtOf({ outcome, listed, returned }: SourceTold, self: string, since: number): string | undefined {
  if (outcome !== 'complete') return `gave ${outcome}`
  if (![...listed].some((node) => node !== self)) return 'lists nobody else'
  const back = [...returned].filter(([, at]) => at > since)
  return back.length > 1 ? `brought back ${back.map(([node]) => node).join(', ')} lately` : undefined
}
