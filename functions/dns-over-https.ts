import { RollcallError } from '../core/error.ts'
import { type DnsMessage, type DnsQuestion, dnsError } from '../core/sources/dns.ts'
import { readBody } from './body.ts'
import { decodeMessage, encodeQuestion, malformed, timeout } from './dns-message.ts'
import type { SourceContext } from './resolvers/source.ts'

const MAX_ANSWER_BYTES = 65_535
const DNS_MESSAGE = 'application/dns-message'

/** Sends one question over HTTPS (RFC 8484), with the id 0 for the sake of caches: the connection tells answers apart. An ask that `signal` ended is `dns_timeout`. */
export async function exchangeByHttps(
  server: string,
  question: DnsQuestion,
  { fetch, signal }: Pick<SourceContext, 'fetch' | 'signal'>,
): Promise<DnsMessage> {
  const headers = { 'content-type': DNS_MESSAGE, accept: DNS_MESSAGE }
  try {
    // A redirect may lead from https to http; Workers know no `error` here.
    const response = await fetch(server, {
      method: 'POST',
      headers,
      body: new Uint8Array(encodeQuestion(question, 0)),
      redirect: 'manual',
      signal,
    })
    // Also of what is refused below: unread it would keep its connection.
    const bytes = await readBody(response.body, MAX_ANSWER_BYTES)
    if (response.status !== 200) throw refusedByHttp(server, response)
    const type = response.headers.get('content-type') ?? 'no content type'
    if (type.split(';')[0]?.trim().toLowerCase() !== DNS_MESSAGE) throw malformed(server, type)
    if (bytes === undefined) throw malformed(server, `more than ${MAX_ANSWER_BYTES} bytes`)
    return decodeMessage(Buffer.from(bytes.buffer), 0, server)
  } catch (error) {
    if (error instanceof RollcallError) throw error
    if (signal.aborted) throw timeout(question, server)
    // Node says only `fetch failed`; its cause has the reason.
    const reason = String(error instanceof Error ? (error.cause ?? error) : error)
    throw dnsError(
      'dns_unreachable',
      `an answer from ${server}, got a failed request (${reason}): does a server listen there?`,
      { cause: error },
    )
  }
}

function refusedByHttp(server: string, { status, headers }: Response): RollcallError {
  const seconds = Number(headers.get('retry-after') ?? Number.NaN)
  return dnsError('dns_http', `HTTP 200 from ${server}, got ${status}: is its path right?`, {
    retryAfterMs: Number.isFinite(seconds) ? seconds * 1_000 : undefined,
  })
}
