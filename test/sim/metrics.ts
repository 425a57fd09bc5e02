import type { NodeName } from '../../core/node.ts'
import { CUT, LEFT } from './beam.ts'
import { answers } from './machine.ts'
import type { Witness, World } from './world.ts'

/** What a run cost, whoever decided in it. Times in ms. */
export interface Metrics {
  /** Links lost by a decision, or in its wake, though both nodes ran, were listed and could hear each other. */
  wrongCuts: number
  /** How long some link was missing that should have been there, or stood that should not. */
  wrongMeshMs: number
  /** From the end of the last fault until the mesh was right and stayed so; Infinity: not by the end of the run. */
  convergeMs: number
  dials: number
  /** Dead nodes that nobody lists and that were dialled all the same in the last two minutes. */
  deadDialled: number
}

// The first seconds of a run are its start, not a fault.
const START_MS = 30_000
const SAMPLE_MS = 1_000
const LAST_MS = 120_000

/** Measures a run while it goes on; `result` is to be asked at its end. */
export function measure(world: World): Witness & { readonly result: () => Metrics } {
  const { time, machines, platform, network, beam, scenario } = world
  let [wrongCuts, wrongMeshMs, dials, wrongAt] = [0, 0, 0, 0]
  const deadDialled = new Set<NodeName>()

  const isMember = (node: NodeName) => answers(machines.get(node)) && platform.entry(node)?.status === 'up'

  function isWrong(): boolean {
    const running = [...machines.values()].filter(answers).map(({ node }) => node)
    return running.some((node, index) => {
      const links = beam.links(node)
      return running.slice(index + 1).some((peer) => {
        if (isMember(node) && isMember(peer)) return network.talks(node, peer) && !links.has(peer)
        const isOut = [node, peer].some((each) => platform.entry(each) === undefined)
        return isOut && links.has(peer)
      })
    })
  }

  function sample(): void {
    if (time.now() > START_MS && isWrong()) {
      wrongMeshMs += SAMPLE_MS
      wrongAt = time.now()
    }
    time.after(SAMPLE_MS, sample)
  }

  time.after(SAMPLE_MS, sample)
  return {
    linkChanged(a, b, up, why) {
      const isDecided = why.includes(` ${CUT}`) || why.includes(` ${LEFT}`)
      if (!up && isDecided && isMember(a) && isMember(b) && network.talks(a, b)) wrongCuts++
    },

    dialled(_from, to) {
      dials++
      const isDead = machines.get(to)?.power !== 'up' && platform.entry(to) === undefined
      if (isDead && time.now() > scenario.durationMs - LAST_MS) deadDialled.add(to)
    },

    result() {
      const isStill = wrongAt > scenario.durationMs - 2 * SAMPLE_MS
      const calmAt = Math.min(world.calmSince(), scenario.durationMs)
      const convergeMs = isStill ? Infinity : Math.max(0, wrongAt - calmAt)
      return { wrongCuts, wrongMeshMs, convergeMs, dials, deadDialled: deadDialled.size }
    },
  }
}
