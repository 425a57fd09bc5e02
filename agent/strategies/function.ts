import * as z from 'zod/mini'
import { type FunctionOptions, functionOptionsSchema } from '../../core/config.ts'
import { RollcallError } from '../../core/error.ts'
import type { Member, Observation } from '../../core/member.ts'
import { readEntries } from '../../core/sources/entries.ts'
import { type MembersDocument, membersDocumentSchema, problemSchema } from '../../core/wire.ts'
import type { Source, SourceContext } from '../../functions/resolvers/source.ts'
import { send as get, type HttpAnswer, jsonOf, parseJson, refusal } from '../../functions/http.ts'

/** When the sources behind an answer were asked, on our clock: the way there and back blurs it. */
interface Asked {
  readonly earliest: number
  readonly latest: number
}

/** A members document whose members can be read; `flaw` tells of those that could not. */
type Document = Omit<MembersDocument, 'members'> & { readonly members: Member[]; readonly flaw?: string }

interface Answer {
  readonly etag: string | undefined
  readonly document: Document
  readonly asked: Asked
}

// 10,000 members with addresses and meta are below 4 MB.
const MAX_BYTES = 8 * 1024 * 1024

const ADVICE: Record<number, string> = {
  401: 'check token: rollcall token prints a new one, and its sha256 for auth there',
  403: 'the token is known there but may not read this topology: see auth there',
  404: 'check url, and that the function has this topology',
  429: 'too many ask: raise interval',
  503: 'its own log says which source does not answer it',
}

/**
 * Who is in a topology, as a deployed rollcall function says. It keeps the last answer and asks whether that still holds; what
 * is stale there is `failed` here, with its members. Throws `http_<status>`, `unreachable`, `timeout` or `bad_answer`. Each
 * call makes one with a memory of its own.
 */
export function createFunctionSource(): Source<FunctionOptions> {
  let last: Answer | undefined
  let observation: Observation | undefined
  return {
    options: functionOptionsSchema,
    async look(options, context) {
      const sentAt = context.now()
      const answer = await ask(options, last, context)
      if (answer.document.stale || answer.document.outcome === 'failed') {
        observation = { source: context.source, at: sentAt, ...staleOutcome(answer.document) }
      } else if (last === undefined || observation === undefined || !overlap(last.asked, answer.asked)) {
        observation = { source: context.source, at: answer.asked.earliest, ...outcomeOf(answer.document) }
      } else if (answer.document.revision !== last.document.revision || observation.outcome === 'failed') {
        // One of several sources was asked again, and not the one whose age this is: news all the same.
        observation = { source: context.source, at: observation.at + 1, ...outcomeOf(answer.document) }
      } else {
        // Nobody was asked again there: the same observation, which counts once.
        return observation
      }
      last = answer
      return observation
    },
  }
}

function overlap(a: Asked, b: Asked): boolean {
  return a.earliest <= b.latest && b.earliest <= a.latest
}

async function ask(options: FunctionOptions, last: Answer | undefined, context: SourceContext): Promise<Answer> {
  const { url, topology = '', token, timeout } = options
  const target = `${url.replace(/\/+$/, '')}/v1/topologies/${encodeURIComponent(topology)}/members`
  const headers = {
    ...(token !== undefined && { Authorization: `Bearer ${token}` }),
    ...(last?.etag !== undefined && { 'If-None-Match': last.etag }),
  }
  const request = { part: 'function', target, headers, timeoutMs: timeout, maxBytes: MAX_BYTES }
  const answer = await get(request, context)
  if (answer.status === 304 && last !== undefined) return { ...last, asked: askedWhen(answer, 0) }
  if (answer.status !== 200) {
    throw refusal(answer, { advice: ADVICE, detail: problemSchema.safeParse(parseJson(answer.text)).data?.code })
  }
  const document = parseDocument(answer)
  const etag = answer.headers.get('etag') ?? undefined
  return { etag, document, asked: askedWhen(answer, document.ageMs) }
}

/** Own time minus the age that the answer tells. A cache on the way ages it in `Age` alone, which counts seconds. */
function askedWhen({ headers, sentAt, receivedAt }: HttpAnswer, documentAgeMs: number): Asked {
  const ageMs = headers.has('rollcall-age-ms') ? Number(headers.get('rollcall-age-ms')) : documentAgeMs
  const cachedMs = Number(headers.get('age') ?? 0) * 1_000
  const known = Math.max(0, Number.isFinite(ageMs) ? ageMs : documentAgeMs)
  if (!(cachedMs > known)) return { earliest: sentAt - known, latest: receivedAt - known }
  return { earliest: sentAt - cachedMs - 1_000, latest: receivedAt - cachedMs }
}

// Each member by itself: one that a later version words otherwise must not hide the rest.
const documentSchema = z.extend(membersDocumentSchema, { members: z.array(z.unknown()) })

function parseDocument(answer: HttpAnswer): Document {
  const parsed = documentSchema.safeParse(jsonOf(answer))
  if (!parsed.success) throw notADocument(answer, parsed.error.issues[0]?.path.join('.') || 'its root')
  const { members: entries, ...document } = parsed.data
  const { members, flaw } = readEntries(entries)
  if (flaw === undefined) return { ...document, members }
  if (members.length === 0) throw notADocument(answer, 'members')
  return { ...document, members, flaw }
}

function notADocument({ target }: HttpAnswer, where: string): RollcallError {
  const expected = `[function] expected the members document of ${target}`
  return new RollcallError('bad_answer', `${expected}, got another at ${where}: is it a rollcall function?`)
}

function outcomeOf(document: Document) {
  const { members, flaw, outcome } = document
  if (outcome === 'complete' && flaw === undefined) return { outcome, members }
  const reason = flaw ?? (failuresOf(document) || 'the function says that it is partial')
  return { outcome: 'partial' as const, members, reason }
}

function staleOutcome(document: Document) {
  const message = `[function] expected a fresh answer, got one of ${Math.round(document.ageMs / 1_000)} s ago: ${failuresOf(document)}`
  return { outcome: 'failed' as const, members: document.members, error: { code: 'stale', message } }
}

function failuresOf({ sources }: Document): string {
  const failing = sources.filter(({ outcome }) => outcome !== 'complete')
  return failing
    .map(({ source, outcome, error }) => `${source} is ${outcome}${error ? ` (${error.code})` : ''}`)
    .join(', ')
}
