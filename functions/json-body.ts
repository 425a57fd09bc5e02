import * as z from 'zod/mini'
import { expectation, sentenceAt, unknownName } from '../core/config-error.ts'
import { readBody } from './body.ts'
import { problem } from './problem.ts'

export interface JsonBodyOptions<Parsed> {
  /** For messages. */
  part: string
  /** What the body is, in a word or two, for messages. */
  shape: string
  maxBytes: number
  schema: z.ZodMiniType<Parsed>
}

/** Reads the JSON body of a request and checks it; throws `body_too_large` or `bad_body`. */
export async function readJsonBody<Parsed>(
  request: Request,
  { part, shape, maxBytes, schema }: JsonBodyOptions<Parsed>,
): Promise<Parsed> {
  const refuse = (sentence: string) => (): never => {
    throw problem('bad_body', part, sentence)
  }
  const isTooLarge = Number(request.headers.get('content-length')) > maxBytes
  const cut = refuse('a whole body, got a part of one: the connection ended before it')
  const bytes = isTooLarge ? undefined : await readBody(request.body, maxBytes).catch(cut)
  if (bytes === undefined) throw problem('body_too_large', part, `a body of at most ${maxBytes} bytes, got more`)
  const odd = refuse('a JSON body, got something that does not parse')
  const error = (issue: z.core.$ZodRawIssue) => expectation(issue, unknownName)
  const parsed = z.safeParse(schema, await new Response(bytes).json().catch(odd), { error })
  if (parsed.success) return parsed.data
  const [{ path, message } = { path: [], message: 'expected something else' }] = parsed.error.issues
  return refuse(`${shape}, got another body: ${sentenceAt(path, message)}`)()
}
