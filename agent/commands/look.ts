import { parseDuration } from '../../core/duration.ts'
import { RollcallError } from '../../core/error.ts'
import type { Member, Observation } from '../../core/member.ts'
import { findSelf } from '../config.ts'
import { ask } from './ask.ts'
import { type CommonOptions, chooseTopology, open } from './open.ts'
import { printJson, printLines } from './print.ts'

/** Asks each source of a topology once and prints the observations; 1 when one of them failed. */
export async function look(given: CommonOptions & { for: string }, topology?: string): Promise<number> {
  const listenMs = parseDuration(given.for)
  if (listenMs === undefined) {
    const expected = 'expected --for as a duration like 250ms, 5s, 2m or 1h'
    throw new RollcallError('usage', `[look] ${expected}, got ${JSON.stringify(given.for)}`)
  }
  const { config, log } = await open(given)
  const [name, asked] = chooseTopology(config, topology)
  const observations = await ask(asked, { topology: name, self: findSelf(config, process.env), log, listenMs })
  if (given.json) printJson({ topology: name, observations })
  else printLines(observations.length === 0 ? [`${name} has no sources`] : observations.flatMap(describeObservation))
  return observations.some(({ outcome }) => outcome === 'failed') ? 1 : 0
}

function describeObservation(observation: Observation): string[] {
  return [describeOutcome(observation), ...(observation.members ?? []).map(describeMember)]
}

/** One line: `dns  complete, 3 members`. */
export function describeOutcome(observation: Observation): string {
  const count = observation.members?.length ?? 0
  const head = `${observation.source}  ${observation.outcome}`
  if (observation.outcome === 'failed') return `${head}, ${observation.error.code}: ${observation.error.message}`
  const members = `${count} ${count === 1 ? 'member' : 'members'}`
  return observation.outcome === 'partial' ? `${head}, ${members}: ${observation.reason}` : `${head}, ${members}`
}

function describeMember({ node, status, address }: Member): string {
  const at = address === undefined ? '' : `  at ${address.host} port ${address.port}`
  return `  ${node}${at}${status === 'leaving' ? '  leaving' : ''}`
}
