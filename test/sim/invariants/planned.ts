import type { Invariant } from '../invariant.ts'

/** (j) A plan is made of whatever an agent is told. */
export const planned: Invariant = {
  name: 'j: every round has its plan',
  sentence: 'Nothing a source or a peer sends can end the process.',
  watch(_world, report) {
    return {
      threw({ self }, error) {
        const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
        report({ message: `${self} makes no plan: ${text}` })
      },
    }
  },
}
