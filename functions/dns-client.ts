import { decode, encode, RECURSION_DESIRED } from 'dns-packet'
import {
  type DnsAnswer,
  type DnsMessage,
  type DnsQuestion,
  isDnsName,
  isTruncated,
  readAnswer,
} from '../core/sources/dns.ts'
import { RollcallError } from '../core/error.ts'
import type { SourceContext } from './resolvers/source.ts'

// A /22 of hosts with their reverse look-ups; what is beyond is left out, and the look is partial.
const MAX_QUESTIONS = 1_000
// Enough to hide latency, few enough for a nameserver's client limits and for file descriptors.
const MAX_IN_FLIGHT = 32
// As in an answer: real chains have two or three.
const MAX_ALIASES = 16
// The size that passes every path unfragmented (DNS flag day 2020).
const UDP_BYTES = 1_232
const MAX_ANSWER_BYTES = 65_535
const DNS_MESSAGE = 'application/dns-message'

export interface DnsClientOptions {
  /** In the order to ask them: `udp://`, `tcp://` or `https://…/dns-query`. */
  servers: readonly string[]
  /** How often a server that does not answer is asked. */
  attempts: number
  /** How long one try may take, ms. */
  tryMs: number
  /** The deadline of everything asked through this client. */
  signal: AbortSignal
  context: Pick<SourceContext, 'fetch' | 'exchange'>
}

/** Asks one question, following aliases from answer to answer. Throws when no server gave an answer. */
export type DnsClient = (question: DnsQuestion) => Promise<DnsAnswer>

/**
 * A client for one look: bounded in questions, in time, and in how many are under way. The next server is asked when
 * one gives no answer, and the one that answered is asked first from then on. UDP carries EDNS and turns to TCP on
 * truncation; HTTPS is RFC 8484.
 */
export function createDnsClient({ servers, attempts, tryMs, signal, context }: DnsClientOptions): DnsClient {
  const limit = createLimit(MAX_IN_FLIGHT)
  let order = servers
  let questions = 0

  async function ask(question: DnsQuestion): Promise<DnsAnswer> {
    // A target or alias may hold any bytes; encoded again they would be another message.
    if (!isDnsName(question.name)) {
      throw new RollcallError('dns_malformed', `[dns] expected a name to ask for, got ${JSON.stringify(question.name)}`)
    }
    if (++questions > MAX_QUESTIONS) {
      throw new RollcallError('dns_too_many_questions', `[dns] expected at most ${MAX_QUESTIONS} questions in one look`)
    }
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

  async function askOnce(server: string, question: DnsQuestion): Promise<DnsAnswer> {
    const trySignal = AbortSignal.any([signal, AbortSignal.timeout(tryMs)])
    try {
      return readAnswer(question, await exchangeMessage(server, question, { ...context, signal: trySignal }), server)
    } catch (error) {
      throw trySignal.aborted && !(error instanceof RollcallError) ? timeout(question, server) : error
    }
  }

  return async function resolve(question) {
    let { name } = question
    for (let aliases = 0; aliases <= MAX_ALIASES; aliases++) {
      const answer = await limit(() => ask({ ...question, name }))
      if (answer.alias === undefined) return answer
      name = answer.alias
    }
    throw new RollcallError('dns_alias_loop', `[dns] expected ${question.name} to end, got ${MAX_ALIASES} aliases`)
  }
}

async function exchangeMessage(
  server: string,
  question: DnsQuestion,
  { fetch, exchange, signal }: Pick<SourceContext, 'fetch' | 'exchange' | 'signal'>,
): Promise<DnsMessage> {
  // RFC 8484 section 4.1: id 0, for the sake of caches; the connection tells answers apart.
  if (server.startsWith('http'))
    return decodeMessage(await post(server, encodeQuestion(question, 0), { fetch, signal }), 0, server)
  if (exchange === undefined) {
    throw new RollcallError('config', `[dns] expected an https:// server where there are no sockets, got ${server}`)
  }
  const [id = 0] = crypto.getRandomValues(new Uint16Array(1))
  const packet = encodeQuestion(question, id)
  const message = decodeMessage(await exchange(server, packet, signal), id, server)
  if (!server.startsWith('udp:') || !isTruncated(message)) return message
  const stream = server.replace('udp:', 'tcp:')
  return decodeMessage(await exchange(stream, packet, signal), id, stream)
}

function encodeQuestion({ name, type }: DnsQuestion, id: number): Uint8Array {
  return encode({
    type: 'query',
    id,
    flags: RECURSION_DESIRED,
    questions: [{ name, type, class: 'IN' }],
    additionals: [
      {
        type: 'OPT',
        name: '.',
        udpPayloadSize: UDP_BYTES,
        extendedRcode: 0,
        ednsVersion: 0,
        flags: 0,
        flag_do: false,
        options: [],
      },
    ],
  })
}

function decodeMessage(bytes: Uint8Array, id: number, server: string): DnsMessage {
  let message: DnsMessage
  try {
    message = decode(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
  } catch (cause) {
    throw malformed(server, `${bytes.length} bytes that are none`, cause)
  }
  // dns-packet reads an address beyond the end without complaint.
  if (decode.bytes > bytes.length) throw malformed(server, `${bytes.length} bytes of ${decode.bytes}`)
  if (message.id !== id) throw malformed(server, 'the answer to another question')
  return message
}

async function post(
  server: string,
  body: Uint8Array,
  { fetch, signal }: { fetch: SourceContext['fetch']; signal: AbortSignal },
): Promise<Uint8Array> {
  const headers = { 'content-type': DNS_MESSAGE, accept: DNS_MESSAGE }
  try {
    // A redirect may lead from https to http; Workers know no `error` here.
    const response = await fetch(server, {
      method: 'POST',
      headers,
      body: new Uint8Array(body),
      redirect: 'manual',
      signal,
    })
    if (response.status !== 200) throw refusedByHttp(server, response)
    const type = response.headers.get('content-type') ?? 'no content type'
    if (type.split(';')[0]?.trim().toLowerCase() !== DNS_MESSAGE) throw malformed(server, type)
    return await readBounded(response, server)
  } catch (error) {
    if (signal.aborted || error instanceof RollcallError) throw error
    // Node says only `fetch failed`; its cause has the reason.
    const reason = String(error instanceof Error ? (error.cause ?? error) : error)
    throw new RollcallError(
      'dns_unreachable',
      `[dns] expected an answer from ${server}, got a failed request (${reason}): does a server listen there?`,
      { cause: error },
    )
  }
}

function refusedByHttp(server: string, response: Response): RollcallError {
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN)
  return new RollcallError(
    'dns_http',
    `[dns] expected HTTP 200 from ${server}, got ${response.status}: is its path right?`,
    {
      retryAfterMs: Number.isFinite(seconds) ? seconds * 1_000 : undefined,
    },
  )
}

async function readBounded(response: Response, server: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of response.body ?? []) {
    length += chunk.length
    if (length > MAX_ANSWER_BYTES) throw malformed(server, `more than ${MAX_ANSWER_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function malformed(server: string, got: string, cause?: unknown): RollcallError {
  return new RollcallError('dns_malformed', `[dns] expected a DNS message from ${server}, got ${got}`, { cause })
}

function timeout({ type, name }: DnsQuestion, server: string): RollcallError {
  return new RollcallError(
    'dns_timeout',
    `[dns] expected an answer for ${type} ${name} from ${server} in time, got none: is it reachable from here?`,
  )
}

/** Runs at most `free` calls at once, the others in order. */
function createLimit(free: number) {
  const waiting: (() => void)[] = []
  return async function limit<Result>(call: () => Promise<Result>): Promise<Result> {
    if (free > 0) free--
    else await new Promise<void>((resolve) => waiting.push(resolve))
    try {
      return await call()
    } finally {
      const next = waiting.shift()
      if (next === undefined) free++
      else next()
    }
  }
}
