import { parseDuration } from '../../core/duration.ts'
import { RollcallError } from '../../core/error.ts'
import type { Member, Observation } from '../../core/member.ts'
import { findSelf } from '../config.ts'
import { ask } from './ask.ts'
import { type CommonOptions, chooseTopology, open } from './open.ts'

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
  const document = { topology: name, observations }
  process.stdout.write(given.json ? `${JSON.stringify(document, undefined, 2)}\n` : describeObservations(document))
  return observations.some(({ outcome }) => outcome === 'failed') ? 1 : 0
}

function describeObservations({
  topology,
  observations,
}: {
  topology: string
  observations: readonly Observation[]
}): string {
  if (observations.length === 0) return `${topology} has no sources\n`
  return observations
    .map((observation) => `${describeOutcome(observation)}\n${listMembers(observation.members)}`)
    .join('')
}

/** One line: `dns  complete, 3 members`. */
export function describeOutcome(observation: Observation): string {
  const count = observation.members?.length ?? 0
  const head = `${observation.source}  ${observation.outcome}`
  if (observation.outcome === 'failed') return `${head}, ${observation.error.code}: ${observation.error.message}`
  const members = `${count} ${count === 1 ? 'member' : 'members'}`
  return observation.outcome === 'partial' ? `${head}, ${members}: ${observation.reason}` : `${head}, ${members}`
}

function listMembers(members: readonly Member[] = []): string {
  return members
    .map(({ node, status, address }) => {
      const at = address === undefined ? '' : `  at ${address.host} port ${address.port}`
      return `  ${node}${at}${status === 'leaving' ? '  leaving' : ''}\n`
    })
    .join('')
}
