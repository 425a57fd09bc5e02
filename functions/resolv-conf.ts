import { isDnsName } from '../core/sources/dns.ts'

/** What rollcall reads of resolv.conf(5). */
export interface ResolvConf {
  readonly nameservers: readonly string[]
  readonly search: readonly string[]
  /** A name with at least this many dots is tried as it is first. */
  readonly ndots: number
  /** How long to wait for one nameserver. */
  readonly timeoutMs: number
  /** How often each nameserver is asked. */
  readonly attempts: number
}

/** How to ask for a name here. */
export interface SystemResolver {
  /** In the order to ask them: `udp://`, `tcp://` or `https://…/dns-query`. */
  readonly servers: readonly string[]
  /** How often each server is asked. */
  readonly attempts: number
  /** How long to wait for one server. */
  readonly timeoutMs: number
  /** The full names to try for a query, in order. */
  readonly namesFor: (query: string) => readonly string[]
}

// Limits and defaults are those of the manual page: three servers, and the caps of glibc.
const MAX_NAMESERVERS = 3
const OPTIONS: Readonly<Record<string, { initial: number; max: number }>> = {
  ndots: { initial: 1, max: 15 },
  timeout: { initial: 5, max: 30 },
  attempts: { initial: 2, max: 5 },
}

/**
 * Parses the text of resolv.conf(5): `nameserver`, `search` or `domain` (the last one wins), and of `options` `ndots`,
 * `timeout` and `attempts`. Everything else is ignored, as resolvers do. No nameserver means the local machine.
 * The search list is never derived from the host's own name.
 */
export function parseResolvConf(text: string): ResolvConf {
  const nameservers: string[] = []
  let search: readonly string[] = []
  const options = new Map<string, number>()
  for (const line of text.split('\n')) {
    const [keyword = '', ...values] = line.trimEnd().split(/\s+/)
    const [value] = values
    if (keyword === 'nameserver' && value !== undefined) nameservers.push(value)
    if (keyword === 'search') search = values
    if (keyword === 'domain' && value !== undefined) search = [value]
    if (keyword !== 'options') continue
    for (const option of values) {
      const [, name = '', digits = ''] = /^([a-z]+):(\d+)$/.exec(option) ?? []
      const known = OPTIONS[name]
      if (known !== undefined) options.set(name, Math.min(Number(digits), known.max))
    }
  }
  const option = (name: string) => options.get(name) ?? OPTIONS[name]?.initial ?? 0
  return {
    nameservers: nameservers.length === 0 ? ['127.0.0.1'] : nameservers.slice(0, MAX_NAMESERVERS),
    search,
    ndots: option('ndots'),
    timeoutMs: Math.max(1, option('timeout')) * 1_000,
    attempts: Math.max(1, option('attempts')),
  }
}

/** Asks the nameservers of a resolv.conf, with its search list. */
export function systemResolver(conf: ResolvConf): SystemResolver {
  return {
    servers: conf.nameservers.map((address) => `udp://${address.includes(':') ? `[${address}]` : address}:53`),
    attempts: conf.attempts,
    timeoutMs: conf.timeoutMs,
    namesFor: (query) => searchNames(query, conf),
  }
}

/** The full names to try for `query`, in the order of resolv.conf(5): with a final dot, or no search list, only itself. Too long ones are left out. */
export function searchNames(query: string, { search, ndots }: Pick<ResolvConf, 'search' | 'ndots'>): string[] {
  if (query.endsWith('.')) return [query]
  const dots = query.split('.').length - 1
  const searched = search.map((domain) => `${query}.${domain.replace(/^\./, '')}`.replace(/\.$/, '')).filter(isDnsName)
  return [...new Set(dots >= ndots ? [query, ...searched] : [...searched, query])]
}
