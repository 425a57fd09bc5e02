/**
 * The one error of rollcall. `code` is stable and made for programs; the message is made for people:
 * `[part] expected …, got …`, then what to check.
 */
export class RollcallError extends Error {
  readonly code: string
  /** How long the other side asked to be left alone, in ms. */
  readonly retryAfterMs?: number

  constructor(code: string, message: string, options: { cause?: unknown; retryAfterMs?: number | undefined } = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause })
    this.name = 'RollcallError'
    this.code = code
    if (options.retryAfterMs !== undefined) this.retryAfterMs = options.retryAfterMs
  }
}

/** The wire form of anything thrown: the code of a {@link RollcallError}, else `internal`. */
export function describeError(error: unknown): { code: string; message: string; retryAfterMs?: number } {
  if (!(error instanceof RollcallError)) {
    return { code: 'internal', message: error instanceof Error ? error.message : String(error) }
  }
  const described = { code: error.code, message: error.message }
  return error.retryAfterMs === undefined ? described : { ...described, retryAfterMs: error.retryAfterMs }
}
