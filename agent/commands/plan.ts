import { RollcallError } from '../../core/error.ts'
import { isNodeName, type NodeName } from '../../core/node.ts'
import { plan as decide, type Plan, type PlanTopology } from '../../core/plan.ts'
import { ageState, readState, writeState } from '../state-file.ts'
import { ask } from './ask.ts'
import { describeOutcome } from './look.ts'
import { type CommonOptions, chooseTopology, openAsNode } from './open.ts'
import { printJson, printLines } from './print.ts'

interface PlanOptions extends CommonOptions {
  connected?: string
  state?: string
}

// What the core's reasons mean, for a person who did not read its rules.
const WHY = {
  new: 'listed, and not connected yet',
  lost: 'its link was lost',
  retry: 'the dial before failed',
  leaving: 'it is on its way out',
  absent: 'its sources have left it out for long enough',
  dialling: 'a dial is under way',
  backoff: 'it waits after failed dials or lost links',
  round_full: 'enough dials for one round',
  grace: 'left out by its sources, not yet for long enough (grace)',
  misses: 'left out by its sources, not yet often enough (misses)',
  source_failed: 'a source that listed it fails, and a failure cuts nobody',
  doubted: 'the source that leaves it out is doubted',
  budget: 'more would go at once than the budget allows',
  policy: 'the policy only connects',
  disputed: 'its own agent answers for it',
} satisfies Record<Plan['connect' | 'disconnect' | 'hold'][number]['reason'], string>

// As `look` does by default: longer than the heartbeat of a node on the network.
const LISTEN_MS = 6_000

/** Looks once and prints what a round would do, and why; dials nobody. 1 when a source failed. */
export async function plan(given: PlanOptions, topology?: string): Promise<number> {
  const links = parseConnected(given.connected)
  const { config, log } = await openAsNode(given)
  const asked = topology === undefined ? Object.entries(config.topologies) : [chooseTopology(config, topology)]
  // The state of the others would be dropped from the file.
  if (given.state !== undefined && asked.length < Object.keys(config.topologies).length) {
    const expected = 'expected --state without a topology, for it keeps what is known of all of them'
    throw new RollcallError('usage', `[plan] ${expected}, got --state and ${topology}`)
  }
  const before = given.state === undefined ? undefined : await readState(given.state, log)
  const looked = asked.map(async ([name, each]): Promise<[string, PlanTopology]> => {
    const observations = await ask(each, { topology: name, self: config.node, log, listenMs: LISTEN_MS })
    return [name, { ...each, sources: each.sources.map(({ id }) => id), observations }]
  })
  const topologies = Object.fromEntries(await Promise.all(looked))
  const now = Date.now()
  const decided = decide(before && ageState(before, { now, topologies }), { self: config.node, now, links, topologies })
  if (given.state !== undefined) await writeState(given.state, decided.state)
  if (given.json) printJson(decided)
  else printLines(describePlan(decided, { self: config.node, now, links: given.connected, topologies }))
  const observations = Object.values(topologies).flatMap((each) => each.observations)
  return observations.some(({ outcome }) => outcome === 'failed') ? 1 : 0
}

function parseConnected(connected: string | undefined): NodeName[] {
  const nodes = connected?.split(',').filter((node) => node !== '') ?? []
  const wrong = nodes.find((node) => !isNodeName(node))
  if (wrong === undefined) return nodes
  const expected = 'expected --connected as node names like app@10.0.0.1, separated by commas'
  throw new RollcallError('usage', `[plan] ${expected}, got ${JSON.stringify(wrong)}`)
}

interface Described {
  self: NodeName
  now: number
  links: string | undefined
  topologies: Record<string, PlanTopology>
}

function describePlan(plan: Plan, { self, now, links, topologies: asked }: Described): string[] {
  const assumed = links === undefined ? 'no links, for --connected names none' : `links to ${links}`
  const topologies = Object.entries(plan.topologies).flatMap(([topology, { formed }]) => [
    `${topology}  ${formed ? 'formed' : 'not formed'}`,
    ...(asked[topology]?.observations ?? []).map((observation) => `  ${describeOutcome(observation)}`),
  ])
  const steps = [
    ...plan.connect.map(({ node, reason }) => `connect     ${node}  ${WHY[reason]}`),
    ...plan.disconnect.map(({ node, reason }) => `disconnect  ${node}  ${WHY[reason]}`),
    ...plan.hold.map(({ node, reason, until }) => `hold        ${node}  ${WHY[reason]}${describeUntil(until, now)}`),
    ...(plan.leave ? [`leave       ${self}  no source lists it any more`] : []),
  ]
  const events = plan.events
    .filter(({ type }) => type !== 'member_listed')
    .map(({ message }) => `note        ${message}`)
  return [`${self}, assuming ${assumed}`, ...topologies, ...(steps.length === 0 ? ['nothing to do'] : steps), ...events]
}

function describeUntil(until: number | undefined, now: number): string {
  return until === undefined ? '' : `, for another ${Math.ceil((until - now) / 1_000)} s`
}
