import * as z from 'zod/mini'
import { RollcallError } from '../core/error.ts'
import type { Member } from '../core/member.ts'
import type { NodeName } from '../core/node.ts'
import { readEntries } from '../core/sources/entries.ts'
import {
  type MembersDocument,
  membersDocumentSchema,
  planDocumentSchema,
  problemSchema,
  registeredDocumentSchema,
} from '../core/wire.ts'
import { backoffMs, type Clock, systemClock } from './clock.ts'
import { firstLine, type HttpAnswer, jsonOf, parseJson, refusal, send } from './http.ts'

export interface ClientOptions {
  /** Where the function is, without the path of a call. */
  readonly url: string
  readonly topology: string
  readonly token?: string | undefined
  /** How long an answer may take, a wait that is asked for not counted, in ms. 5 s by default: a function answers from what it has within 1. */
  readonly timeoutMs?: number | undefined
  /** How often a call that did not get through is made again. 2 by default: what lasts for longer is to be told. */
  readonly retries?: number | undefined
  readonly fetch?: typeof fetch | undefined
  readonly clock?: Clock | undefined
}

export interface CallOptions {
  /** Ends the call, with its reason. */
  readonly signal?: AbortSignal | undefined
}

export interface MembersOptions extends CallOptions {
  /** How long to wait for another listing than the last one, in ms, at most 30 s. Hosts that do not wait answer at once. */
  readonly waitMs?: number | undefined
}

export interface RegisterOptions extends CallOptions {
  /** Whether the members are to come along in the answer. */
  readonly members?: boolean | undefined
}

/** When the sources behind an answer were asked, on the caller's clock: the way there and back blurs it. */
export interface Asked {
  readonly earliest: number
  readonly latest: number
}

/** Who is in the topology. The ages are as of the answer. */
export interface Listing extends Omit<MembersDocument, 'members'> {
  readonly members: Member[]
  /** Why there may be more of them: an entry could not be read. */
  readonly flaw?: string
  readonly asked: Asked
  /** False where the host said that it does not wait for changes. */
  readonly waits: boolean
}

/** What a node says of itself. */
export interface Registration {
  readonly node: NodeName
  /** Random for each start of the node, 1 to 255 printable ASCII characters. */
  readonly id: string
  /** How long the lease is to last; what the registry grants by default, and at most that. */
  readonly ttlMs?: number | undefined
  readonly status?: Member['status'] | undefined
  /** Where to dial it, when the name alone does not tell. */
  readonly address?: Member['address'] | undefined
  readonly meta?: Readonly<Record<string, string>> | undefined
}

/** What a registration came to. */
export interface Registered {
  /** How long the lease lasts, in ms: renew soon after a third of it. */
  readonly ttlMs: number
  readonly revision: string
  /** Where it was asked for. */
  readonly listing?: Listing
}

/** What `plan` answers: a `Plan`. */
export type PlanDocument = z.infer<typeof planDocumentSchema>

/** A deployed function, for one topology. */
export interface Client {
  /** Who is there. What did not change is not sent again: the answer then is what this client has, with its new age. */
  members(options?: MembersOptions): Promise<Listing>
  /** Whom `self` should connect to and disconnect from. With the `state` of the plan before it may cut; without it never. */
  plan(
    request: { self: NodeName; connected: readonly NodeName[]; state?: PlanDocument['state'] | undefined },
    options?: CallOptions,
  ): Promise<PlanDocument>
  /** Registers a node, or renews its lease. Rejects with `left` for an id that has left. */
  register(registration: Registration, options?: RegisterOptions): Promise<Registered>
  /** Says that a node leaves: others see it `leaving`. Rejects with `replaced` where another start of it holds the lease. */
  leave(registration: Pick<Registration, 'node' | 'id'>, options?: CallOptions): Promise<Registered>
}

interface Call {
  readonly method?: string
  readonly path: string
  /** Different each time, so that no message names it. */
  readonly query?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  readonly waitMs?: number
}

/** What the client remembers: the last listing, and what it would be called by. */
interface Known {
  readonly etag: string
  readonly listing: Listing
}

const TIMEOUT_MS = 5_000
const RETRIES = 2
// A retry is for a lost packet and an instance that begins; a second of patience passes both.
const BACKOFF = { baseMs: 500, maxMs: 5_000 }
// Who is to stay away for longer is told so, and decides himself.
const MAX_RETRY_AFTER_MS = 10_000
const MAX_WAIT_MS = 30_000
// 10,000 members with addresses and meta are below 4 MB, and a plan carries the state of as many.
const MAX_BYTES = 8 * 1024 * 1024
// What may be another answer the next time. All four calls may be made twice: they come to the same.
const PASSING = new Set(['unreachable', 'timeout'])
const PASSING_STATUS = new Set([429, 500, 502, 503, 504])
// `internal` in an error of ours would say that we are at fault.
const CODE = /^(?!internal$)[a-z][a-z0-9_]{0,63}$/

const ADVICE: Readonly<Record<number, string>> = {
  400: 'its text says what it does not take',
  401: 'check token: rollcall token prints a new one, and its sha256 for auth there',
  403: 'the token is known there but may not do this: see topologies, verbs and nodes of auth there',
  404: 'check url, and that the function has this topology',
  409: 'its text says what stands against it',
  413: 'send less: the function limits what it reads',
  429: 'too many ask: raise interval',
  503: 'its own log says which source does not answer it',
}
const ADVICE_BY_CODE: Readonly<Record<string, string>> = {
  no_registry: 'give the topology a registry there, or leave out register here',
  left: 'this start of the node has left; start it again, for that gives it another id',
  replaced: 'another start of the node holds the lease: where its agent runs, leave by that one (agent.listen)',
  registry_full: 'raise maxMembers of the topology there',
}

/**
 * A client of a deployed function, for one topology, on any runtime with `fetch`. Its calls reject with the stable code of the
 * function's problem, or `http_<status>`, `unreachable`, `timeout`, `bad_answer`. What may pass is tried again, after the time that
 * the function asks for; one above 10 s is left to the caller, as `retryAfterMs` of the error.
 */
export function createClient(options: ClientOptions): Client {
  const { topology, token, clock = systemClock, retries = RETRIES, timeoutMs = TIMEOUT_MS } = options
  const base = `${options.url.replace(/\/+$/, '')}/v1/topologies/${encodeURIComponent(topology)}`
  const membersPath = `${base}/members`
  // Not in an object: a browser's fetch wants to be called by itself.
  const own: typeof fetch = options.fetch ?? ((...given) => fetch(...given))
  const authorization = token !== undefined && { Authorization: `Bearer ${token}` }
  let known: Known | undefined

  async function call(request: Call, { signal = new AbortController().signal }: CallOptions): Promise<HttpAnswer> {
    for (let failures = 0; ; failures++) {
      const outcome = await attempt(request, signal)
      if (!('error' in outcome)) return outcome.answer
      const { error, passes } = outcome
      const { retryAfterMs = 0 } = error
      if (!passes || failures >= retries || retryAfterMs > MAX_RETRY_AFTER_MS) throw error
      // On top of what the function says to all alike: else all would come back together.
      await clock.sleep(retryAfterMs + backoffMs(failures, { ...BACKOFF, clock }), signal)
      signal.throwIfAborted()
    }
  }

  async function attempt(
    { path, query = '', waitMs = 0, headers, ...request }: Call,
    signal: AbortSignal,
  ): Promise<{ answer: HttpAnswer } | { error: RollcallError; passes: boolean }> {
    try {
      const answer = await send(
        {
          ...request,
          part: 'function',
          target: `${path}${query}`,
          shown: path,
          headers: { ...authorization, ...headers },
          timeoutMs: timeoutMs + waitMs,
          maxBytes: MAX_BYTES,
          clock,
        },
        { fetch: own, signal, now: clock.now },
      )
      const isAnswer = answer.status === 200 || (answer.status === 304 && headers?.['If-None-Match'] !== undefined)
      return isAnswer ? { answer } : { error: refused(answer), passes: PASSING_STATUS.has(answer.status) }
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof RollcallError)) throw error
      return { error, passes: PASSING.has(error.code) }
    }
  }

  function read(answer: HttpAnswer, heldMs = 0): Listing {
    const document = parseDocument(answer)
    const listing = { ...document, asked: askedWhen(answer, { ageMs: document.ageMs, heldMs }), waits: waitsOf(answer) }
    const etag = answer.headers.get('etag')
    known = etag === null ? undefined : { etag, listing }
    return listing
  }

  return {
    async members({ waitMs: wanted = 0, ...rest } = {}) {
      const before = known
      const waitMs = before === undefined ? 0 : Math.max(0, Math.min(Math.floor(wanted), MAX_WAIT_MS))
      const answer = await call(
        {
          path: membersPath,
          query: waitMs > 0 ? `?wait=${waitMs}ms` : '',
          waitMs,
          headers: before === undefined ? {} : { 'If-None-Match': before.etag },
        },
        rest,
      )
      // Who waited to the end was held all that time, and its age is that of the end.
      const tookMs = answer.receivedAt - answer.sentAt
      const heldMs = tookMs >= waitMs ? waitMs : 0
      if (before === undefined || answer.status !== 304) return read(answer, heldMs)
      const listing = aged(before.listing, answer, heldMs)
      // Another call may have brought a newer one.
      if (known === before) known = { etag: before.etag, listing }
      return listing
    },

    async plan(request, rest = {}) {
      const answer = await call({ method: 'POST', path: `${base}/plan`, body: JSON.stringify(request) }, rest)
      return parsed(answer, planDocumentSchema)
    },

    async register({ node, ...registration }, { members: wanted = false, ...rest } = {}) {
      const path = `${membersPath}/${encodeURIComponent(node)}`
      const headers = wanted ? { Prefer: 'return=representation' } : {}
      const answer = await call({ method: 'PUT', path, headers, body: JSON.stringify(registration) }, rest)
      const { ttlMs, revision } = parsed(answer, registeredDocumentSchema)
      // A function may know no preference.
      const hasMembers = wanted && answer.headers.get('preference-applied') === 'return=representation'
      return { ttlMs, revision, ...(hasMembers && { listing: read(answer) }) }
    },

    async leave({ node, id }, rest = {}) {
      const path = `${membersPath}/${encodeURIComponent(node)}`
      const query = `?id=${encodeURIComponent(id)}`
      return parsed(await call({ method: 'DELETE', path, query }, rest), registeredDocumentSchema)
    },
  }
}

function refused(answer: HttpAnswer): RollcallError {
  const { data } = problemSchema.safeParse(parseJson(answer.text))
  if (data === undefined) return refusal(answer, { advice: ADVICE })
  const code = CODE.test(data.code) ? data.code : undefined
  const own = code !== undefined && Object.hasOwn(ADVICE_BY_CODE, code) ? ADVICE_BY_CODE[code] : undefined
  const advice = own === undefined ? ADVICE : { ...ADVICE, [answer.status]: own }
  return refusal(answer, { advice, code, detail: firstLine(`${data.code}, ${data.detail}`) })
}

/** The listing that is known, as old as an answer without a body says. */
function aged(listing: Listing, answer: HttpAnswer, heldMs: number): Listing {
  const elapsedMs = Math.max(0, answer.receivedAt - listing.asked.latest)
  const asked = askedWhen(answer, { ageMs: elapsedMs, heldMs })
  const ageMs = Math.max(0, answer.receivedAt - asked.latest)
  // The oldest of them is that old, and none is older than it was.
  const sinceMs = Math.max(0, elapsedMs - listing.ageMs)
  const sources = listing.sources.map((source) => ({ ...source, ageMs: Math.min(source.ageMs + sinceMs, ageMs) }))
  return { ...listing, sources, ageMs, asked, waits: waitsOf(answer) }
}

/** Own time minus the age that the answer tells. A cache on the way ages it in `Age` alone, which counts seconds. */
function askedWhen(
  { headers, sentAt, receivedAt }: HttpAnswer,
  { ageMs: documentAgeMs, heldMs }: { ageMs: number; heldMs: number },
): Asked {
  const ageMs = headers.has('rollcall-age-ms') ? Number(headers.get('rollcall-age-ms')) : documentAgeMs
  const cachedMs = Number(headers.get('age') ?? 0) * 1_000
  const known = Math.max(0, Number.isFinite(ageMs) ? ageMs : documentAgeMs)
  if (!(cachedMs > known)) return { earliest: sentAt + heldMs - known, latest: receivedAt - known }
  return { earliest: sentAt + heldMs - cachedMs - 1_000, latest: receivedAt - cachedMs }
}

function waitsOf({ headers }: HttpAnswer): boolean {
  return headers.get('rollcall-wait') !== 'no'
}

// Each member by itself: one that a later version words otherwise must not hide the rest.
const documentSchema = z.extend(membersDocumentSchema, { members: z.array(z.unknown()) })

function parseDocument(answer: HttpAnswer) {
  const { members: entries, ...document } = parsed(answer, documentSchema)
  const { members, flaw } = readEntries(entries)
  if (flaw === undefined) return { ...document, members }
  if (members.length === 0) throw notADocument(answer, 'members')
  return { ...document, members, flaw }
}

function parsed<Parsed>(answer: HttpAnswer, schema: z.ZodMiniType<Parsed>): Parsed {
  const { data, error } = schema.safeParse(jsonOf(answer))
  if (error === undefined) return data
  throw notADocument(answer, error.issues[0]?.path.join('.') || 'its root')
}

function notADocument({ target }: HttpAnswer, where: string): RollcallError {
  const expected = `[function] expected the document of ${target}`
  return new RollcallError('bad_answer', `${expected}, got another at ${where}: is it a rollcall function?`)
}
