import * as z from 'zod/mini'
import { nodeNameSchema } from '../core/member.ts'
import type { NodeName } from '../core/node.ts'
import { parseState, type State } from '../core/state.ts'
import { readJsonBody } from './json-body.ts'
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
const BODY = {
  part: 'plan',
  shape: '{ self, connected, state? }',
  maxBytes: 4 * 1024 * 1024,
  schema: planRequestSchema,
}

/** Reads and checks the body; throws `body_too_large`, `bad_body` or `bad_state`. */
export async function readPlanRequest(request: Request): Promise<PlanRequest> {
  const { self, connected, state } = await readJsonBody(request, BODY)
  const known = state === undefined ? undefined : parseState(state)
  if (state !== undefined && known === undefined) {
    throw problem('bad_state', 'plan', 'the state of an earlier plan, got something else')
  }
  return { self, connected, state: known }
}
