import type * as z from 'zod/mini'
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
  const tooLarge = () => problem('body_too_large', part, `a body of at most ${maxBytes} bytes, got more`)
  if (Number(request.headers.get('content-length')) > maxBytes) throw tooLarge()
  let bytes: Uint8Array | undefined
  try {
    bytes = await readBody(request.body, maxBytes)
  } catch {
    throw problem('bad_body', part, 'a whole body, got a part of one: the connection ended before it')
  }
  if (bytes === undefined) throw tooLarge()
  const parsed = schema.safeParse(parseJson(new TextDecoder().decode(bytes), part))
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw problem('bad_body', part, `${shape}, got another body: ${issue?.path.join('.')} ${issue?.message}`)
}

function parseJson(text: string, part: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw problem('bad_body', part, 'a JSON body, got something that does not parse')
  }
}
