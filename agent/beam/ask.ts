import { RollcallError } from '../../core/error.ts'
import type { Term } from './etf.ts'
import type { Line, Mailbox, Signal } from './node.ts'

export interface CallOptions {
  /** How long the answer may take. */
  readonly timeoutMs?: number | undefined
  readonly signal?: AbortSignal | undefined
}

interface Question extends CallOptions {
  /** What is asked, for messages. */
  readonly what: string
  readonly timeoutMs: number
  /** Sends the question; what it throws is the answer. */
  begin(mailbox: Mailbox): void
  /** What a signal is: the answer, why there is none, or nothing yet. */
  receive(signal: Signal): Term | RollcallError | undefined
  /** Called with the answer, before the mailbox closes. */
  end?(mailbox: Mailbox): void
  /** Whether signals go on being received after the answer. */
  readonly lasting?: boolean
}

// What setTimeout can count; beyond it, Infinity too, it fires at once.
const MAX_TIMER_MS = 2 ** 31 - 1

/**
 * Asks over a line through a mailbox of its own, and settles with the first thing that `receive` makes of a signal. Rejects
 * with that, `rpc_timeout`, the signal's reason, or what ended the line.
 */
export function ask(line: Line, question: Question): Promise<Term> {
  const { what, timeoutMs, signal, lasting = false } = question
  const { promise, resolve, reject } = Promise.withResolvers<Term>()
  if (line.closed.aborted) return Promise.reject(line.closed.reason as RollcallError)
  if (signal?.aborted === true) return Promise.reject(signal.reason as Error)
  let settled = false

  function settle(result: unknown, failure: boolean): void {
    if (settled) return
    settled = true
    clearTimeout(timer)
    signal?.removeEventListener('abort', onAbort)
    question.end?.(mailbox)
    if (failure || !lasting) mailbox.close()
    if (failure) reject(result)
    else resolve(result as Term)
  }

  const onAbort = () => settle(signal?.reason, true)
  const onTimeout = () =>
    settle(
      new RollcallError('rpc_timeout', `[rpc] expected an answer of ${what} within ${timeoutMs} ms, got none`),
      true,
    )
  const mailbox = line.open((event) => {
    if (event.type === 'closed') settle(event.error, true)
    const answer = question.receive(event)
    if (answer !== undefined) settle(answer, answer instanceof RollcallError)
  })
  const timer = setTimeout(onTimeout, Math.min(timeoutMs, MAX_TIMER_MS))
  signal?.addEventListener('abort', onAbort)
  try {
    question.begin(mailbox)
  } catch (error) {
    settle(error, true)
  }
  return promise
}
