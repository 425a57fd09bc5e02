import { RollcallError } from '../../core/error.ts'
import type { Observation } from '../../core/member.ts'
import {
  createAddressBook,
  type DnsAnswer,
  type DnsOptions,
  type DnsQuestion,
  dnsOptionsSchema,
  membersOf,
  nameUnder,
  reverseName,
} from '../../core/sources/dns.ts'
import { outcomeOf } from '../../core/sources/outcome.ts'
import { createDnsClient, type DnsClient } from '../dns-client.ts'
import type { SystemResolver } from '../resolv-conf.ts'
import { basenameFor } from './basename.ts'
import type { Source, SourceContext } from './source.ts'

// Where there are no sockets there is no resolv.conf; on Workers this one is next door.
const CLOUDFLARE = 'https://cloudflare-dns.com/dns-query'
// As resolv.conf(5) has it: a packet of UDP may be lost.
const UDP_ATTEMPTS = 2

/**
 * The nodes that DNS names stand for: one member for each address (A, AAAA) or target (SRV). Asks the nameservers of
 * resolv.conf with its search list, or `server` alone; /etc/hosts is not read, and TTLs are left to the caches that
 * keep them. NXDOMAIN and no data are `complete` with nobody; a failing part makes the rest `partial`; when nothing
 * answers, `look` throws.
 */
export const dnsSource: Source<DnsOptions> = { options: dnsOptionsSchema, look }

/** What one part of a look gave. `answered` is false when every question of it failed. */
interface Findings {
  readonly hosts: readonly string[]
  readonly flaws: readonly RollcallError[]
  readonly answered: boolean
}

const NOBODY: Findings = { hosts: [], flaws: [], answered: true }

async function look(options: DnsOptions, context: SourceContext): Promise<Observation> {
  const at = context.now()
  const basename = basenameFor(options.basename, context, 'dns')
  const { servers, attempts, timeoutMs, namesFor } = await resolverFor(options, context)
  const client = createDnsClient({
    servers,
    attempts,
    tryMs: Math.min(timeoutMs, Math.ceil(options.timeout / (servers.length * attempts))),
    signal: AbortSignal.any([context.signal, AbortSignal.timeout(Math.ceil(options.timeout))]),
    context,
  })

  const queries = [options.query].flat()
  const findings = merge(await Promise.all(queries.map((query) => findQuery(namesFor(query), { options, client }))))
  context.signal.throwIfAborted()
  const [failure] = findings.flaws
  if (!findings.answered && failure !== undefined) throw failure

  const { members, flaws } = membersOf(basename, findings.hosts)
  const reasons = [...flaws.map((flaw) => `[dns] ${flaw}`), ...findings.flaws.map(({ message }) => message)]
  return { source: context.source, at, ...outcomeOf({ members, flaws: reasons }) }
}

async function resolverFor({ server }: DnsOptions, { exchange, resolvConf }: SourceContext): Promise<SystemResolver> {
  if (server !== undefined) return resolverOf(server)
  if (exchange === undefined) return resolverOf(CLOUDFLARE)
  if (resolvConf !== undefined) return await resolvConf()
  throw new RollcallError('config', '[dns] expected `server`, got none: there is no resolv.conf here')
}

/** One server alone: no search list, and of all limits of time only `timeout`. */
function resolverOf(server: string): SystemResolver {
  return {
    servers: [server],
    attempts: server.startsWith('udp:') ? UDP_ATTEMPTS : 1,
    timeoutMs: Number.POSITIVE_INFINITY,
    namesFor: (query) => [query],
  }
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
  return new RollcallError('dns_nameless', `[dns] expected ${wanted}, got none: its node is left out`)
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
