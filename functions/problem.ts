import { RollcallError } from '../core/error.ts'

/** What a route answers; the app adds what every answer carries. */
export interface Reply {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | null
}

const TITLES = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  409: 'Conflict',
  413: 'Content Too Large',
  429: 'Too Many Requests',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
}

/** Every code that a caller can get, with its status. */
export const PROBLEMS = {
  bad_body: 400,
  bad_state: 400,
  bad_node: 400,
  bad_query: 400,
  unauthenticated: 401,
  verb_forbidden: 403,
  topology_forbidden: 403,
  node_forbidden: 403,
  host_forbidden: 403,
  not_found: 404,
  unknown_topology: 404,
  no_registry: 404,
  method_not_allowed: 405,
  left: 409,
  replaced: 409,
  body_too_large: 413,
  too_many_requests: 429,
  internal: 500,
  no_answer_yet: 503,
  not_ready: 503,
  registry_full: 503,
  store_unavailable: 503,
  auth_not_configured: 503,
  config: 503,
} as const satisfies Record<string, keyof typeof TITLES>

export type ProblemCode = keyof typeof PROBLEMS

/** An error for a caller to see: `[part] expected <sentence>` becomes the `detail`, so it names nothing that the caller may not know. */
export function problem(code: ProblemCode, part: string, sentence: string, retryAfterMs?: number): RollcallError {
  return new RollcallError(code, `[${part}] expected ${sentence}`, { retryAfterMs })
}

const UNKNOWN = 'no error, got one: the log has it under the X-Request-Id'

/** RFC 9457 problem details of anything thrown. What was not made for a caller to see is `internal` and says nothing. */
export function problemReply(error: unknown): Reply {
  const isKnown = error instanceof RollcallError && Object.hasOwn(PROBLEMS, error.code)
  const { code, message: detail, retryAfterMs = 5_000 } = isKnown ? error : problem('internal', 'function', UNKNOWN)
  const status = PROBLEMS[code as ProblemCode]
  const headers: Record<string, string> = {
    'Content-Type': 'application/problem+json',
    'Cache-Control': 'no-store',
  }
  if (status === 401) headers['WWW-Authenticate'] = 'Bearer realm="rollcall"'
  // Whole seconds, never 0: RFC 9110, section 10.2.3.
  if (status === 503 || status === 429) headers['Retry-After'] = String(Math.max(1, Math.ceil(retryAfterMs / 1_000)))
  return { status, headers, body: JSON.stringify({ type: 'about:blank', title: TITLES[status], status, code, detail }) }
}
