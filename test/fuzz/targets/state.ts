import assert from 'node:assert/strict'
import { type PlanInput, plan } from '../../../core/plan.ts'
import { defaultPolicy } from '../../../core/policy.ts'
import { parseState, type State } from '../../../core/state.ts'
import { agent, names, observation } from '../../core/rounds.ts'
import type { Target } from '../target.ts'

const all = names(6)
const NOW = 1_700_000_000_000
const links = ['n2@h', 'n3@h', 'n4@h']
const answers = [all, all.slice(0, 4), [], 'failed', { partial: ['n2@h', 'n9@h'] }] as const

/** States as a mesh leaves them behind: formed, with absent, leaving, doubted, failed and guarded ones. */
function states(): State[] {
  const mesh = agent({ self: 'n1@h', now: NOW - 600_000 })
  mesh.form(all)
  const left: (State | undefined)[] = [mesh.state]
  mesh.alive.delete('n6@h')
  const leaving = [
    ...all.slice(0, 4),
    { node: 'n5@h', status: 'leaving' as const, id: 'x', address: { host: 'h', port: 1 } },
  ]
  for (const answer of [leaving, all.slice(0, 3), [], all]) {
    mesh.rounds(4, answer)
    left.push(mesh.state)
  }
  mesh.rounds(3, { only: 'failed' })
  left.push(mesh.state)
  return left.filter((state) => state !== undefined)
}

/**
 * A state from a file or an HTTP body: what is accepted gives a plan, whatever the sources say, which cuts nobody that the state did not
 * list, and whose own state is accepted again.
 */
export function stateTarget(): Target {
  const seeds = states()
  const sources = [
    ...new Set(
      seeds.flatMap(({ topologies }) => Object.values(topologies).flatMap(({ sources }) => Object.keys(sources))),
    ),
  ]
  const topologies = [...new Set(seeds.flatMap((state) => Object.keys(state.topologies)))]
  let accepted = 0
  return {
    seeds: [...seeds.map((state) => JSON.stringify(state)), '{"version":2,"self":"n1@h"}'],
    words: [
      ...sources,
      ...topologies,
      ...all,
      'n9@h',
      'dialledAt',
      'penalty',
      'leavingClocks',
      'returnedClocks',
      'ahead',
      'doubted',
    ],
    isJson: true,
    inputs: 5_000,

    run(input) {
      const value = jsonOf(input)
      const state = value === undefined ? undefined : parseState(value)
      if (state === undefined) return
      accepted++
      for (const [index, answer] of answers.entries()) {
        const asked = {
          sources,
          intervalMs: index === 2 ? 0 : 5_000,
          policy: { ...defaultPolicy, confirm: index === 0 ? 0 : defaultPolicy.confirm },
          observations: sources.map((source) => observation(source, NOW, answer)),
        }
        const given: PlanInput = {
          self: 'n1@h',
          now: NOW,
          links,
          topologies: Object.fromEntries(topologies.map((one) => [one, asked])),
        }
        const before: string = JSON.stringify(state)
        const made = plan(state, given)
        assert.equal(JSON.stringify(state), before, 'the state that was given is another one')
        assert.deepEqual(plan(state, given), made)
        for (const { node } of made.disconnect) assert.ok(links.includes(node) && before.includes(node))
        assert.ok(Number.isFinite(made.recheckAt), 'recheckAt')
        for (const { until = 0 } of made.hold) assert.ok(Number.isFinite(until), 'until')
        const written = parseState(JSON.parse(JSON.stringify(made.state)))
        assert.deepEqual(JSON.parse(JSON.stringify(written ?? null)), JSON.parse(JSON.stringify(made.state)))
        plan(written, { ...given, now: NOW + 5_000 })
      }
    },

    checkReach() {
      assert.ok(accepted > 0)
    },
  }
}

function jsonOf(input: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(input).toString())
  } catch {
    return undefined
  }
}
