import { RollcallError } from '../core/error.ts'
import {
  type DnsAnswer,
  type DnsMessage,
  type DnsOptions,
  type DnsQuestion,
  dnsError,
  readAnswer,
} from '../core/sources/dns.ts'
import type { DnsClient } from './dns-client.ts'
import type { Nameservers } from './dns-look.ts'
import { decodeMessage, encodeQuestion, timeout } from './dns-message.ts'
import { exchangeByHttps } from './dns-over-https.ts'
import type { SystemResolver } from './resolv-conf.ts'
import type { SourceContext } from './resolvers/source.ts'
import { within } from './within.ts'

// As resolv.conf(5) has it: a packet of UDP may be lost.
const UDP_ATTEMPTS = 2

type Exchange = NonNullable<SourceContext['exchange']>
type Context = Pick<SourceContext, 'fetch' | 'signal'> & { exchange: Exchange }

/** The nameservers of a host that has sockets: `server` alone, or those of resolv.conf with its search list. */
export async function nameserversOf(
  { server, timeout: timeoutMs }: DnsOptions,
  context: Context & Pick<SourceContext, 'resolvConf'>,
): Promise<Nameservers> {
  const resolver = server === undefined ? await context.resolvConf?.() : resolverOf(server)
  if (resolver === undefined) throw dnsError('config', '`server`, got none: there is no resolv.conf here')
  const { servers, attempts } = resolver
  const tryMs = Math.min(resolver.timeoutMs, Math.ceil(timeoutMs / (servers.length * attempts)))
  return { namesFor: resolver.namesFor, ask: createFailover({ servers, attempts, tryMs, context }) }
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

interface FailoverOptions {
  /** In the order to ask them: `udp://`, `tcp://` or `https://…/dns-query`. */
  servers: readonly string[]
  /** How often a server that does not answer is asked. */
  attempts: number
  /** How long one try may take, ms. */
  tryMs: number
  context: Context
}

/** Asks the next server when one gives no answer; the one that answered is asked first from then on. */
function createFailover({ servers, attempts, tryMs, context }: FailoverOptions): DnsClient {
  const { signal } = context
  let order = servers

  async function askOnce(server: string, question: DnsQuestion): Promise<DnsAnswer> {
    const message = await within({ ms: tryMs, signal }, async (trySignal) => {
      try {
        return await exchangeMessage(server, question, { ...context, signal: trySignal })
      } catch (error) {
        throw trySignal.aborted && !(error instanceof RollcallError) ? timeout(question, server) : error
      }
    })
    return readAnswer(question, message, server)
  }

  return async function ask(question) {
    let candidates = order
    let failure: unknown = timeout(question, order.join(', '))
    for (let attempt = 0; attempt < attempts; attempt++) {
      for (const server of candidates) {
        if (signal.aborted) throw failure
        try {
          const answer = await askOnce(server, question)
          if (order[0] !== server) order = [server, ...order.filter((other) => other !== server)]
          return answer
        } catch (error) {
          failure = error
          // Silence may be a lost packet; what a server has said it would say again.
          const silent = error instanceof RollcallError && error.code === 'dns_timeout'
          if (!silent) candidates = candidates.filter((other) => other !== server)
        }
      }
    }
    throw failure
  }
}

/** UDP carries EDNS and turns to TCP on truncation. */
async function exchangeMessage(
  server: string,
  question: DnsQuestion,
  { fetch, exchange, signal }: Context,
): Promise<DnsMessage> {
  if (server.startsWith('http')) return await exchangeByHttps(server, question, { fetch, signal })
  const [id = 0] = crypto.getRandomValues(new Uint16Array(1))
  const packet = encodeQuestion(question, id)
  async function exchangeWith(nameserver: string): Promise<DnsMessage> {
    const { buffer, byteOffset, byteLength } = await exchange(nameserver, packet, signal)
    return decodeMessage(Buffer.from(buffer, byteOffset, byteLength), id, nameserver)
  }
  const message = await exchangeWith(server)
  const isCut = server.startsWith('udp:') && message.flag_tc
  return isCut ? await exchangeWith(server.replace('udp:', 'tcp:')) : message
}
