import { RollcallError } from '../core/error.ts'
import { readBody } from './body.ts'
import { type Clock, systemClock, withDeadline } from './clock.ts'
import type { SourceContext } from './resolvers/source.ts'

/** One question to somebody who answers in JSON. */
export interface HttpRequest {
  /** Who asks, for messages. */
  readonly part: string
  /** The whole address. Nothing secret belongs into it. */
  readonly target: string
  /** What messages call it: the target, unless a part of that is different each time. */
  readonly shown?: string
  /** GET by default. */
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  /** JSON. */
  readonly body?: string
  /** How long the answer may take, its body included. */
  readonly timeoutMs: number
  /** How large the body may be once it is decompressed. */
  readonly maxBytes: number
  readonly clock?: Clock
}

/** What a question may use of the world. */
export type HttpContext = Pick<SourceContext, 'fetch' | 'signal' | 'now'>

/** An answer of any status, read to its end. */
export interface HttpAnswer {
  readonly part: string
  /** What messages call the address. */
  readonly target: string
  readonly status: number
  readonly headers: Headers
  readonly text: string
  /** Ms since the Unix epoch. */
  readonly sentAt: number
  /** When its head was there. */
  readonly receivedAt: number
}

/**
 * Asks for JSON once, whatever the status of the answer. Redirects are answers too: followed, they would take a token to where nobody
 * configured it. Throws `unreachable`, `timeout` or `bad_answer` (too large), and the signal's reason when that was it.
 */
export async function send(request: HttpRequest, context: HttpContext): Promise<HttpAnswer> {
  const { part, target, shown = target, timeoutMs, clock = systemClock } = request
  const expected = `[${part}] expected an answer of ${shown}`
  try {
    const deadline = { ms: timeoutMs, signal: context.signal, clock, expected }
    return await withDeadline((signal) => exchange(request, { ...context, signal }), deadline)
  } catch (cause) {
    context.signal.throwIfAborted()
    if (cause instanceof RollcallError) throw cause
    // What fetch says itself is that it failed.
    const { code, message } = ((cause as Error).cause ?? cause) as { code?: string; message: string }
    const reason = `${expected}, got ${code ?? message}: check url, and that it can be reached from here`
    throw new RollcallError('unreachable', reason, { cause })
  }
}

/** Parses the body as JSON. Throws `bad_answer` with how it begins. */
export function jsonOf({ part, target, text }: HttpAnswer): unknown {
  const parsed = parseJson(text)
  if (parsed !== undefined) return parsed
  const got = text === '' ? 'an empty body' : JSON.stringify(text.slice(0, 40))
  throw new RollcallError('bad_answer', `[${part}] expected JSON from ${target}, got ${got}: check url`)
}

/** The value of a JSON text; undefined where it is none. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** What is known of a refusal beside the answer. */
export interface Refusal {
  /** What to do, by status. */
  readonly advice: Readonly<Record<number, string>>
  /** `http_<status>` by default. */
  readonly code?: string | undefined
  /** What the other side says itself: the first line of the body by default. */
  readonly detail?: string | undefined
}

/** The error for an answer of another status than 200, with what to check and how long the other side wants to be left alone. */
export function refusal(
  { part, target, status, headers, text, receivedAt }: HttpAnswer,
  { advice, code = `http_${status}`, detail = firstLine(text) }: Refusal,
): RollcallError {
  const location = headers.get('location')
  const got = [status, detail, status < 400 && location !== null && `to ${location}`].filter(Boolean).join(' ')
  const message = `[${part}] expected 200 from ${target}, got ${got}: ${advice[status] ?? 'check url'}`
  return new RollcallError(code, message, {
    retryAfterMs: retryAfter(headers.get('retry-after'), receivedAt),
  })
}

async function exchange(request: HttpRequest, { fetch, signal, now }: HttpContext): Promise<HttpAnswer> {
  const { part, target, shown = target, method = 'GET', body } = request
  const type = body !== undefined && { 'Content-Type': 'application/json' }
  const headers = { Accept: 'application/json', ...type, ...request.headers }
  const sentAt = now()
  const response = await fetch(target, {
    method,
    headers,
    redirect: 'manual',
    signal,
    ...(body !== undefined && { body }),
  })
  const receivedAt = now()
  const text = await readText(response, request)
  return { part, target: shown, status: response.status, headers: response.headers, text, sentAt, receivedAt }
}

async function readText({ body }: Response, { part, target, shown = target, maxBytes }: HttpRequest): Promise<string> {
  const bytes = await readBody(body, maxBytes)
  if (bytes !== undefined) return new TextDecoder().decode(bytes)
  throw new RollcallError('bad_answer', `[${part}] expected at most ${maxBytes} bytes of ${shown}, got more`)
}

/** What an error says of itself, short and on one line: it ends in a log. */
export function firstLine(text: string): string {
  const [line = ''] = text.trim().split('\n', 1)
  return line.replace(/[^ -~]/g, '?').slice(0, 100)
}

/** RFC 9110, section 10.2.3: seconds, or a date. */
function retryAfter(value: string | null, now: number): number | undefined {
  if (value === null) return undefined
  const ms = /^\d+$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - now
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined
}
