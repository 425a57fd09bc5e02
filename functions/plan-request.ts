import * as z from 'zod/mini'
import { nodeNameSchema } from '../core/member.ts'
import type { NodeName } from '../core/node.ts'
import { parseState, type State } from '../core/state.ts'
import { readBody } from './body.ts'
import { problem } from './problem.ts'

/** The body of a plan request, understood. */
export interface PlanRequest {
  readonly self: NodeName
  readonly connected: readonly NodeName[]
  readonly state: State | undefined
}

/** The body of `POST /v1/topologies/{t}/plan`. `state` is what an earlier answer gave, as it was. */
export const planRequestSchema = z.object({
  self: nodeNameSchema,
  /** 50000: five times the usual `maxMembers`, for links of other topologies count too. */
  connected: z.array(nodeNameSchema).check(z.maxLength(50_000)),
  state: z.optional(z.looseObject({})),
})

// The links and the state of 10000 members with long names are 2.3 MB.
const MAX_BODY_BYTES = 4 * 1024 * 1024

/** Reads and checks the body; throws `body_too_large`, `bad_body` or `bad_state`. */
export async function readPlanRequest(request: Request): Promise<PlanRequest> {
  const parsed = planRequestSchema.safeParse(parseJson(await readText(request)))
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    const got = `${issue?.path.join('.')} ${issue?.message}`
    throw problem('bad_body', 'plan', `{ self, connected, state? }, got another body: ${got}`)
  }
  const { self, connected, state } = parsed.data
  const known = state === undefined ? undefined : parseState(state)
  if (state !== undefined && known === undefined) {
    throw problem('bad_state', 'plan', 'the state of an earlier plan, got something else')
  }
  return { self, connected, state: known }
}

async function readText(request: Request): Promise<string> {
  if (Number(request.headers.get('content-length')) > MAX_BODY_BYTES) throw tooLarge()
  let bytes: Buffer | undefined
  try {
    bytes = await readBody(request.body, MAX_BODY_BYTES)
  } catch {
    throw problem('bad_body', 'plan', 'a whole body, got a part of one: the connection ended before it')
  }
  if (bytes === undefined) throw tooLarge()
  return new TextDecoder().decode(bytes)
}

function tooLarge(): Error {
  return problem('body_too_large', 'plan', `a body of at most ${MAX_BODY_BYTES} bytes, got more`)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw problem('bad_body', 'plan', 'a JSON body, got something that does not parse')
  }
}
