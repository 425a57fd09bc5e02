import { type DnsOptions, dnsOptionsSchema } from '../../core/sources/dns.ts'
import { lookUp } from '../dns-look.ts'
import { nameserversOf } from '../nameservers.ts'
import { httpsNameserver } from './edge-dns.ts'
import type { Source } from './source.ts'

/**
 * The nodes that DNS names stand for: one member for each address (A, AAAA) or target (SRV). Asks the nameservers of
 * resolv.conf with its search list, or `server` alone; /etc/hosts is not read, and TTLs are left to the caches that
 * keep them. NXDOMAIN and no data are `complete` with nobody; a failing part makes the rest `partial`; when nothing
 * answers, `look` throws.
 */
export const dnsSource: Source<DnsOptions> = {
  options: dnsOptionsSchema,
  look: (options, context) =>
    lookUp(options, context, async (asked, { exchange, ...rest }) => {
      return exchange === undefined
        ? await httpsNameserver(asked, rest)
        : await nameserversOf(asked, { ...rest, exchange })
    }),
}
