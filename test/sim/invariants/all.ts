import type { Invariant } from '../invariant.ts'
import { believedCuts } from './believed-cuts.ts'
import { boundedState } from './bounded-state.ts'
import { converges } from './converges.ts'
import { cutRate } from './cut-rate.ts'
import { dialRate } from './dial-rate.ts'
import { heals } from './heals.ts'
import { noRedial } from './no-redial.ts'
import { oneMesh } from './one-mesh.ts'
import { planned } from './planned.ts'
import { removalsDone } from './removals-done.ts'
import { silentSources } from './silent-sources.ts'

/** What must hold in every run of rollcall, (a) to (k). */
export const invariants: readonly Invariant[] = [
  believedCuts,
  silentSources,
  converges,
  removalsDone,
  heals,
  noRedial,
  dialRate,
  oneMesh,
  boundedState,
  planned,
  cutRate,
]
