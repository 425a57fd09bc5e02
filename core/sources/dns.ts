import * as z from 'zod/mini'
import { durationSchema } from '../duration.ts'
import { RollcallError } from '../error.ts'
import { up } from '../member.ts'
import { isNodeName, nodeName, parseIpv4, parseIpv6 } from '../node.ts'
import { basename, name } from '../setting.ts'
import type { Finding } from './outcome.ts'

/** Options of the `dns` source after parsing; `timeout` in ms. */
export type DnsOptions = z.infer<typeof dnsOptionsSchema>

const SERVER = /^(udp:\/\/|tcp:\/\/|https?:\/\/)[^\s]+$/
// Printable ASCII but the dot: wider than a host name, for `_epmd._tcp` and the `0/25` of RFC 2317.
const DNS_NAME = /^[!-\-/-~]{1,63}(\.[!-\-/-~]{1,63})*\.?$/
// Real chains have two or three; the limit ends a loop.
const MAX_ALIASES = 16

const nameSchema = z
  .string()
  .check(z.refine(isDnsName, { error: 'expected a DNS name in ASCII, labels of at most 63 bytes, 253 in all' }))

export const dnsOptionsSchema = z.strictObject({
  name,
  /**
   * One name or several. Without `server` a name without a final dot goes through the search list of resolv.conf;
   * with it every name is taken as it is. /etc/hosts is not read.
   */
  query: z.union([nameSchema, z.array(nameSchema).check(z.minLength(1))]),
  types: z._default(z.array(z.enum(['A', 'AAAA', 'SRV'])).check(z.minLength(1)), ['A', 'AAAA']),
  /** The part before the `@` of the names it makes; the agent's own by default. */
  basename,
  /**
   * `ip`: the name carries the address (of an SRV target: its A records, or where it has none its AAAA).
   * `hostname`: the name a reverse look-up (A, AAAA) or the SRV target gives, and the default for SRV. The port of an
   * SRV record is the service's, never the distribution's, and is not used.
   */
  host: z.optional(z.enum(['ip', 'hostname'])),
  /** The one server to ask. Default: the nameservers of resolv.conf; where there are no sockets, Cloudflare's by HTTPS. */
  server: z.optional(
    z.string().check(z.regex(SERVER, { error: 'expected udp://host:port, tcp://host:port or https://host/dns-query' })),
  ),
  /** How long one look may take in all, ms; each try of each server gets an equal share. As long as the usual interval. */
  timeout: z._default(durationSchema, 5_000),
})

export interface DnsQuestion {
  readonly name: string
  readonly type: 'A' | 'AAAA' | 'SRV' | 'PTR'
}

/** A DNS message as a codec such as dns-packet decodes it: what the parser reads of it. */
export interface DnsMessage {
  readonly id?: number | undefined
  readonly type?: 'query' | 'response' | undefined
  /** The second 16 bits of the header, RFC 1035 section 4.1.1. */
  readonly flags?: number | undefined
  /** Of these: the answer was cut to fit its packet. */
  readonly flag_tc?: boolean | undefined
  /** The server speaks for the zone. */
  readonly flag_aa?: boolean | undefined
  /** The server looks further. */
  readonly flag_ra?: boolean | undefined
  readonly questions?: readonly { readonly name: string; readonly type: string }[] | undefined
  readonly answers?: readonly DnsRecord[] | undefined
  readonly authorities?: readonly DnsRecord[] | undefined
  readonly additionals?: readonly DnsRecord[] | undefined
}

export interface DnsRecord {
  readonly name: string
  readonly type: string
  readonly class?: string | undefined
  readonly data?: unknown
  /** Of an OPT record: the upper eight bits of the response code, RFC 6891. */
  readonly extendedRcode?: number | undefined
}

/** What an answer says about its question. */
export interface DnsAnswer {
  /** Addresses, SRV targets or PTR names; empty when the server said that there are none (NXDOMAIN, NODATA). */
  readonly hosts: readonly string[]
  /** Why there may be more of them. */
  readonly flaws: readonly string[]
  /** The answer ends in an alias: ask for this name instead. */
  readonly alias?: string
  readonly additionals: readonly DnsRecord[]
}

const NXDOMAIN = 3
const RCODES: Readonly<Record<number, string>> = { 1: 'FORMERR', 2: 'SERVFAIL', 4: 'NOTIMP', 5: 'REFUSED' }

/** The error of a question or of its answer: `[dns] expected <sentence>`. */
export function dnsError(
  code: string,
  sentence: string,
  options?: { cause?: unknown; retryAfterMs?: number | undefined },
): RollcallError {
  return new RollcallError(code, `[dns] expected ${sentence}`, options)
}

/** Whether `text` can be asked for: RFC 1035 sizes, printable ASCII. */
export function isDnsName(text: string): boolean {
  return DNS_NAME.test(text) && text.length <= (text.endsWith('.') ? 254 : 253)
}

/**
 * Reads the answer that `server` gave, following aliases within it.
 * Throws when it is no answer: `dns_servfail`, `dns_refused` and the like, `dns_lame`, `dns_alias_loop`, `dns_malformed`.
 */
export function readAnswer(question: DnsQuestion, message: DnsMessage, server: string): DnsAnswer {
  const { type, flags = 0, questions = [], answers = [], additionals = [] } = message
  const fail = (code: string, got: string) =>
    dnsError(code, `${question.type} ${question.name} from ${server}, got ${got}`)
  const [echo] = questions
  const echoed = questions.length === 1 && echo?.type === question.type && isSameName(echo.name, question.name)
  if (type !== 'response' || !echoed) throw fail('dns_malformed', 'an answer to another question')

  // EDNS carries the upper bits apart: without them BADVERS (16) passes for success with no records.
  const rcode = (flags & 15) + 16 * (additionals.find(({ type }) => type === 'OPT')?.extendedRcode ?? 0)
  if (rcode !== 0 && rcode !== NXDOMAIN) {
    const name = RCODES[rcode] ?? `RCODE_${rcode}`
    throw fail(`dns_${name.toLowerCase()}`, `${name}: does this server serve the name? (dig tells more)`)
  }
  const truncated = message.flag_tc ? [`[dns] the answer for ${question.type} ${question.name} is truncated`] : []
  const nobody = { hosts: [], flaws: truncated, additionals }
  // With aliases NXDOMAIN is about the last of them (RFC 6604).
  if (rcode === NXDOMAIN) return nobody

  let name = question.name
  for (let aliases = 0; aliases <= MAX_ALIASES; aliases++) {
    const found = recordsOf(answers, name, question.type)
    if (found.length > 0) {
      const hosts = found.flatMap((record) => hostIn(record) ?? [])
      const odd = found.length - hosts.length
      const flaws = odd === 0 ? truncated : [...truncated, `[dns] ${odd} malformed ${question.type} of ${name}`]
      // An SRV target of the root says that there is no service (RFC 2782).
      return { hosts: hosts.filter((host) => host !== '.'), flaws, additionals }
    }
    const [alias] = recordsOf(answers, name, 'CNAME')
    if (alias === undefined) {
      if (name !== question.name) return { ...nobody, alias: name }
      if (truncated.length === 0 && isLame(message)) {
        throw fail(
          'dns_lame',
          'a referral to other servers: set `server` to one that resolves, or that serves the zone',
        )
      }
      return nobody
    }
    if (typeof alias.data !== 'string' || !isDnsName(alias.data)) throw fail('dns_malformed', `an odd alias of ${name}`)
    name = alias.data
  }
  throw fail('dns_alias_loop', `more than ${MAX_ALIASES} aliases`)
}

/** The addresses that an additional section gives by name; empty for a name about which it is silent. */
export function createAddressBook(additionals: readonly DnsRecord[]): (name: string, type: 'A' | 'AAAA') => string[] {
  const key = (type: string, name: string) => `${type} ${canonical(name)}`
  const book = Map.groupBy(
    additionals.filter((record) => record.class === 'IN'),
    ({ type, name }) => key(type, name),
  )
  return (name, type) => (book.get(key(type, name)) ?? []).flatMap((record) => hostIn(record) ?? [])
}

/** The members that these hosts are under one basename. */
export function membersOf(basename: string, { hosts, flaws }: Pick<DnsAnswer, 'hosts' | 'flaws'>): Finding {
  const names = hosts.map((host) => nodeName(basename, host))
  const members = names.filter(isNodeName).map(up)
  const odd = names.length - members.length
  if (odd === 0) return { members, flaws }
  return { members, flaws: [...flaws, `[dns] ${odd} of ${names.length} names cannot be node names`] }
}

/** The name whose PTR record names this address: RFC 1035 section 3.5, RFC 3596 section 2.5. */
export function reverseName(address: string): string {
  const groups = parseIpv6(address)
  if (groups === undefined) return `${address.split('.').reverse().join('.')}.in-addr.arpa`
  const nibbles = groups.map((group) => group.toString(16).padStart(4, '0')).join('')
  return `${nibbles.split('').reverse().join('.')}.ip6.arpa`
}

/**
 * The one name of an address with several PTR records, as a pod in several services has them: the first one under
 * `domain`, else the first.
 */
export function nameUnder(domain: string, names: readonly string[]): string | undefined {
  const sorted = names.toSorted()
  return sorted.find((name) => canonical(name).endsWith(`.${canonical(domain)}`)) ?? sorted[0]
}

function recordsOf(records: readonly DnsRecord[], name: string, type: string): DnsRecord[] {
  return records.filter((record) => record.type === type && record.class === 'IN' && isSameName(record.name, name))
}

function hostIn({ type, data }: DnsRecord): string | undefined {
  const host: unknown = type === 'SRV' ? Object(data).target : data
  if (typeof host !== 'string') return undefined
  if (type === 'A' && parseIpv4(host) === undefined) return undefined
  return type === 'AAAA' && parseIpv6(host) === undefined ? undefined : host
}

// No records is NODATA only from a server that speaks for the zone or looks further (RFC 2308 section 2.2).
// A referral looks the same but for its NS records; read as NODATA it would empty the mesh.
function isLame({ flag_aa, flag_ra, authorities = [] }: DnsMessage): boolean {
  if (authorities.some(({ type }) => type === 'SOA')) return false
  return !(flag_aa || flag_ra) || authorities.some(({ type }) => type === 'NS')
}

function isSameName(a: string, b: string): boolean {
  return canonical(a) === canonical(b)
}

function canonical(name: string): string {
  return name.toLowerCase().replace(/\.$/, '')
}
