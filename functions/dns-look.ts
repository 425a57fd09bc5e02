import { RollcallError } from '../core/error.ts'
import type { Observation } from '../core/member.ts'
import {
  createAddressBook,
  type DnsOptions,
  type DnsQuestion,
  membersOf,
  nameUnder,
  reverseName,
} from '../core/sources/dns.ts'
import { type Finding, outcomeOf, together } from '../core/sources/outcome.ts'
import { createDnsClient, type DnsClient } from './dns-client.ts'
import { basenameFor } from './resolvers/basename.ts'
import type { SourceContext } from './resolvers/source.ts'
import { within } from './within.ts'

/** Whom to ask, and for which names. */
export interface Nameservers {
  readonly ask: DnsClient
  /** The full names to try for a query, in order. */
  readonly namesFor: (query: string) => readonly string[]
}

const NOBODY: Finding = { members: [], flaws: [] }

/** What every part of one look needs. */
interface Look {
  readonly options: DnsOptions
  readonly basename: string
  readonly resolve: DnsClient
}

/**
 * Asks for all queries within `timeout`. NXDOMAIN and no data are `complete` with nobody; a failing part makes the rest
 * `partial`; throws when nothing answers.
 */
export async function lookUp(
  options: DnsOptions,
  context: SourceContext,
  nameserversFor: (options: DnsOptions, context: SourceContext) => Promise<Nameservers>,
): Promise<Observation> {
  const { source, signal: ending, now } = context
  const at = now()
  const basename = basenameFor(options.basename, context, 'dns')
  const finding = within({ ms: options.timeout, signal: ending }, async (signal) => {
    const { ask, namesFor } = await nameserversFor(options, { ...context, signal })
    const look = { options, basename, resolve: createDnsClient(ask) }
    return await all([options.query].flat().map((query) => findQuery(namesFor(query), look)))
  })
  // Whoever ends a look is told so, and not that nobody answered.
  const found = await finding.finally(() => ending.throwIfAborted())
  return { source, at, ...outcomeOf(found) }
}

/** The first of these names that has records. A name that fails ends the search: another could be someone else's. */
async function findQuery(names: readonly string[], look: Look): Promise<Finding> {
  for (const name of names) {
    // All types of one name before the next name: half of each would be two different meshes.
    const found = await all(look.options.types.map((type) => findMembers({ name, type }, look)))
    if (found.members.length > 0 || found.flaws.length > 0) return found
  }
  return NOBODY
}

async function findMembers(question: DnsQuestion, look: Look): Promise<Finding> {
  const answer = await look.resolve(question)
  const natural = question.type === 'SRV' ? 'hostname' : 'ip'
  if ((look.options.host ?? natural) === natural) return membersOf(look.basename, answer)
  const addresses = createAddressBook(answer.additionals)
  // A target stands once for each of its ports.
  const turned = [...new Set(answer.hosts)].map((host) =>
    question.type === 'SRV' ? findByAddress(host, addresses, look) : findByName(host, question.name, look),
  )
  return together([{ members: [], flaws: answer.flaws }, await all(turned)])
}

/** One family alone: a node has one name, and both addresses of a dual-stack host would make two. */
async function findByAddress(
  name: string,
  addresses: ReturnType<typeof createAddressBook>,
  { basename, resolve }: Look,
): Promise<Finding> {
  for (const type of ['A', 'AAAA'] as const) {
    const hosts = addresses(name, type)
    // What is not in the additional section may have been left out for its size, so silence there means nothing.
    const answer = hosts.length > 0 ? { hosts, flaws: [] } : await resolve({ name, type })
    if (answer.hosts.length > 0 || answer.flaws.length > 0) return membersOf(basename, answer)
  }
  return leftOut(`an address of ${name}`)
}

async function findByName(address: string, domain: string, { basename, resolve }: Look): Promise<Finding> {
  const { hosts, flaws } = await resolve({ name: reverseName(address), type: 'PTR' })
  const name = nameUnder(domain, hosts)
  return name === undefined
    ? together([{ members: [], flaws }, leftOut(`a PTR record of ${address}`)])
    : membersOf(basename, { hosts: [name], flaws })
}

function leftOut(wanted: string): Finding {
  return { members: [], flaws: [`[dns] expected ${wanted}, got none: its node is left out`] }
}

/** What all of them find: a part that fails is a flaw. Throws the first failure where all fail. */
async function all(parts: readonly Promise<Finding>[]): Promise<Finding> {
  return together(await Promise.all(parts.map((part) => part.catch(failure))))
}

function failure(error: unknown): RollcallError {
  if (error instanceof RollcallError) return error
  throw error
}
