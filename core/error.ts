/**
 * The one error of rollcall. `code` is stable and made for programs; the message is made for people:
 * `[part] expected …, got …`, then what to check.
 */
export class RollcallError extends Error {
  override readonly name = 'RollcallError'
  readonly code: string
  /** How long the other side asked to be left alone, in ms. */
  readonly retryAfterMs: number | undefined

  constructor(code: string, message: string, options: { cause?: unknown; retryAfterMs?: number | undefined } = {}) {
    super(message, options)
    this.code = code
    this.retryAfterMs = options.retryAfterMs
  }
}

/** The wire form of anything thrown: the code of a {@link RollcallError}, else `internal`. */
export function describeError(error: unknown): { code: string; message: string; retryAfterMs?: number } {
  if (!(error instanceof RollcallError)) {
    return { code: 'internal', message: error instanceof Error ? error.message : String(error) }
  }
  const { code, message, retryAfterMs } = error
  return { code, message, ...(retryAfterMs !== undefined && { retryAfterMs }) }
}
