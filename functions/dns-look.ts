import { RollcallError } from '../core/error.ts'
import type { Observation } from '../core/member.ts'
import {
  createAddressBook,
  type DnsAnswer,
  type DnsMessage,
  type DnsOptions,
  type DnsQuestion,
  dnsError,
  membersOf,
  nameUnder,
  readAnswer,
  reverseName,
} from '../core/sources/dns.ts'
import { outcomeOf } from '../core/sources/outcome.ts'
import { createDnsClient, type DnsClient } from './dns-client.ts'
import { basenameFor } from './resolvers/basename.ts'
import type { SourceContext } from './resolvers/source.ts'

/** Whom to ask, and for which names. */
export interface Nameservers {
  readonly ask: DnsClient
  /** The full names to try for a query, in order. */
  readonly namesFor: (query: string) => readonly string[]
}

/** The answer that `server` gives in `exchanged`; an ask that `signal` ended is `dns_timeout`. */
export async function answerOf(
  question: DnsQuestion,
  server: string,
  { exchanged, signal }: { exchanged: Promise<DnsMessage>; signal: AbortSignal },
): Promise<DnsAnswer> {
  try {
    return readAnswer(question, await exchanged, server)
  } catch (error) {
    throw signal.aborted && !(error instanceof RollcallError) ? timeout(question, server) : error
  }
}

/** Nobody answered in time. */
export function timeout({ type, name }: DnsQuestion, server: string): RollcallError {
  return dnsError(
    'dns_timeout',
    `an answer for ${type} ${name} from ${server} in time, got none: is it reachable from here?`,
  )
}

/** What one part of a look gave. `answered` is false when every question of it failed. */
interface Findings {
  readonly hosts: readonly string[]
  readonly flaws: readonly RollcallError[]
  readonly answered: boolean
}

const NOBODY: Findings = { hosts: [], flaws: [], answered: true }

/**
 * Asks for all queries within `timeout`. NXDOMAIN and no data are `complete` with nobody; a failing part makes the rest
 * `partial`; throws when nothing answers.
 */
export async function lookUp(
  options: DnsOptions,
  context: SourceContext,
  nameserversFor: (options: DnsOptions, context: SourceContext) => Promise<Nameservers>,
): Promise<Observation> {
  const at = context.now()
  const basename = basenameFor(options.basename, context, 'dns')
  const signal = AbortSignal.any([context.signal, AbortSignal.timeout(Math.ceil(options.timeout))])
  const { ask, namesFor } = await nameserversFor(options, { ...context, signal })
  const client = createDnsClient(ask)

  const queries = [options.query].flat()
  const findings = merge(await Promise.all(queries.map((query) => findQuery(namesFor(query), { options, client }))))
  context.signal.throwIfAborted()
  const [failure] = findings.flaws
  if (!findings.answered && failure !== undefined) throw failure

  const { members, flaws } = membersOf(basename, findings.hosts)
  const reasons = [...flaws.map((flaw) => `[dns] ${flaw}`), ...findings.flaws.map(({ message }) => message)]
  return { source: context.source, at, ...outcomeOf({ members, flaws: reasons }) }
}

interface Asking {
  options: DnsOptions
  client: DnsClient
}

/** The first of these names that has records. A name that fails ends the search: another could be someone else's. */
async function findQuery(names: readonly string[], asking: Asking): Promise<Findings> {
  for (const name of names) {
    // All types of one name before the next name: half of each would be two different meshes.
    const findings = merge(
      await Promise.all(asking.options.types.map((type) => attempt(() => findHosts({ name, type }, asking)))),
    )
    if (findings.hosts.length > 0 || findings.flaws.length > 0) return findings
  }
  return NOBODY
}

async function findHosts(question: DnsQuestion, { options, client }: Asking): Promise<Findings> {
  const answer = await client(question)
  const found = findingsOf(answer)
  const natural = question.type === 'SRV' ? 'hostname' : 'ip'
  if ((options.host ?? natural) === natural || answer.hosts.length === 0) return found
  const turn = question.type === 'SRV' ? findAddresses : findName
  const turning = { addresses: createAddressBook(answer.additionals), client, domain: question.name }
  // A target stands once for each of its ports.
  const hosts = [...new Set(answer.hosts)]
  const turned = await Promise.all(hosts.map((host) => attempt(() => turn(host, turning))))
  return merge([{ ...found, hosts: [], answered: false }, ...turned])
}

interface Turning {
  /** Of the additional section. */
  addresses: ReturnType<typeof createAddressBook>
  client: DnsClient
  domain: string
}

/** One family alone: a node has one name, and both addresses of a dual-stack host would make two. */
async function findAddresses(name: string, { addresses, client }: Turning): Promise<Findings> {
  for (const type of ['A', 'AAAA'] as const) {
    // What is not in the additional section may have been left out for its size, so silence there means nothing.
    const given = addresses(name, type)
    const findings = given.length > 0 ? { ...NOBODY, hosts: given } : findingsOf(await client({ name, type }))
    if (findings.hosts.length > 0 || findings.flaws.length > 0) return findings
  }
  return { ...NOBODY, flaws: [nameless(`an address of ${name}`)] }
}

async function findName(address: string, { client, domain }: Turning): Promise<Findings> {
  const findings = findingsOf(await client({ name: reverseName(address), type: 'PTR' }))
  const name = nameUnder(domain, findings.hosts)
  return name === undefined
    ? { ...findings, flaws: [...findings.flaws, nameless(`a PTR record of ${address}`)] }
    : { ...findings, hosts: [name] }
}

function findingsOf({ hosts, flaws }: DnsAnswer): Findings {
  return { hosts, flaws: flaws.map((flaw) => new RollcallError('dns_flawed', `[dns] ${flaw}`)), answered: true }
}

function nameless(wanted: string): RollcallError {
  return dnsError('dns_nameless', `${wanted}, got none: its node is left out`)
}

async function attempt(find: () => Promise<Findings>): Promise<Findings> {
  try {
    return await find()
  } catch (error) {
    if (!(error instanceof RollcallError)) throw error
    return { hosts: [], flaws: [error], answered: false }
  }
}

function merge(parts: readonly Findings[]): Findings {
  return {
    hosts: parts.flatMap(({ hosts }) => hosts),
    flaws: parts.flatMap(({ flaws }) => flaws),
    answered: parts.some(({ answered }) => answered),
  }
}
