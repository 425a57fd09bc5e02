import { type DnsOptions, dnsError, dnsOptionsSchema, readAnswer } from '../../core/sources/dns.ts'
import { lookUp, type Nameservers } from '../dns-look.ts'
import { exchangeByHttps } from '../dns-over-https.ts'
import type { Source, SourceContext } from './source.ts'

// Where there are no sockets there is no resolv.conf; on Workers this one is next door.
const CLOUDFLARE = 'https://cloudflare-dns.com/dns-query'

/** The `dns` source of a host without sockets: one server, by HTTPS, and names as they are. */
export const edgeDnsSource: Source<DnsOptions> = {
  options: dnsOptionsSchema,
  look: (options, context) => lookUp(options, context, httpsNameserver),
}

/** The one nameserver of a host without sockets. Throws `config` for a server that needs one. */
export async function httpsNameserver(
  { server = CLOUDFLARE }: DnsOptions,
  { fetch, signal }: Pick<SourceContext, 'fetch' | 'signal'>,
): Promise<Nameservers> {
  if (!server.startsWith('http')) {
    throw dnsError('config', `an https:// server where there are no sockets, got ${server}`)
  }
  return {
    ask: async (question) => {
      const message = await exchangeByHttps(server, question, { fetch, signal })
      return readAnswer(question, message, server)
    },
    namesFor: (query) => [query],
  }
}
