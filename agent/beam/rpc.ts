import { RollcallError } from '../../core/error.ts'
import type { Connection } from './connection.ts'
import { atom, charlist, isAtom, isKind, isTuple, type Pid, type Term, textOf, tuple } from './etf.ts'
import type { Signal } from './node.ts'

export interface CallOptions {
  /** 15 s by default: a `net_kernel:connect_node/1` alone takes up to 7 s a step. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal | undefined
}

const SPAWN_REQUEST = 29
const CALL_TIMEOUT_MS = 15_000
// A message is for a person: what a crashed node says of itself can be megabytes.
const MAX_SHOWN_CHARACTERS = 300

/**
 * Calls `module:name(...args)` on the peer as `erpc:call` does (OTP 23 and later) and gives its value. Rejects with
 * `rpc_failed` when it raised there, `rpc_timeout`, the signal's reason, or what ended the connection.
 */
export function call(
  connection: Connection,
  module: string,
  name: string,
  args: readonly Term[],
  options: CallOptions = {},
): Promise<Term> {
  const what = `${module}:${name}/${args.length} at ${connection.peer}`
  const request = {
    what,
    module: 'erpc',
    name: 'execute_call',
    args: () => [connection.self.createRef(), atom(module), atom(name), [...args]],
    option: 'monitor' as const,
  }
  return spawn(connection, request, options, (signal) => {
    if (signal.type === 'spawned' && isAtom(signal.term)) return failed(what, signal.term)
    if (signal.type !== 'down') return undefined
    const [, outcome, value] = isTuple(signal.term) ? signal.term.elements : []
    return isAtom(outcome, 'return') && value !== undefined ? value : failed(what, signal.term)
  })
}

/**
 * Runs Erlang source on the peer in a process linked to us, so that it ends with the connection; no module is loaded.
 * `Agent` is bound to our pid. What the process sends and its end go to `receive`. Resolves once it is spawned.
 */
export async function evaluateLinked(
  connection: Connection,
  source: string,
  receive: (signal: Signal) => void,
  options: CallOptions = {},
): Promise<void> {
  const tokens = okValue(await call(connection, 'erl_scan', 'string', [charlist(source)], options))
  const forms = okValue(await call(connection, 'erl_parse', 'parse_exprs', [tokens], options))
  const what = `erl_eval:exprs/2 at ${connection.peer}`
  const request = {
    what,
    module: 'erl_eval',
    name: 'exprs',
    args: (pid: Pid) => [forms, [tuple(atom('Agent'), pid)]],
    option: 'link' as const,
  }
  await spawn(connection, request, options, (signal) => {
    if (signal.type === 'spawned') return isAtom(signal.term) ? failed(what, signal.term) : signal.term
    receive(signal)
    return undefined
  })
}

interface SpawnRequest {
  readonly what: string
  readonly module: string
  readonly name: string
  readonly args: (pid: Pid) => Term[]
  readonly option: 'monitor' | 'link'
}

/** Settles with the first thing that `receive` makes of a signal. A monitored process is let go then, a linked one goes on being received. */
function spawn(
  connection: Connection,
  { what, module, name, args, option }: SpawnRequest,
  { timeoutMs = CALL_TIMEOUT_MS, signal }: CallOptions,
  receive: (signal: Signal) => Term | RollcallError | undefined,
): Promise<Term> {
  const { promise, resolve, reject } = Promise.withResolvers<Term>()
  if (connection.closed.aborted) return Promise.reject(connection.closed.reason as RollcallError)
  if (signal?.aborted === true) return Promise.reject(signal.reason as Error)
  let settled = false

  function settle(result: unknown, failure: boolean): void {
    if (settled) return
    settled = true
    clearTimeout(timer)
    signal?.removeEventListener('abort', onAbort)
    if (failure || option === 'monitor') mailbox.close()
    if (failure) reject(result)
    else resolve(result as Term)
  }

  const onAbort = () => settle(signal?.reason, true)
  const onTimeout = () =>
    settle(
      new RollcallError('rpc_timeout', `[rpc] expected an answer of ${what} within ${timeoutMs} ms, got none`),
      true,
    )
  const mailbox = connection.open((event) => {
    if (event.type === 'closed') settle(event.error, true)
    const answer = receive(event)
    if (answer !== undefined) settle(answer, answer instanceof RollcallError)
  })
  const timer = setTimeout(onTimeout, timeoutMs)
  signal?.addEventListener('abort', onAbort)
  // Pid 0 is nobody: a process that prints there learns `noproc`, where a live mailbox would leave it waiting.
  const groupLeader = { ...mailbox.pid, id: 0, serial: 0 }
  const payload = args(mailbox.pid)
  const target = tuple(atom(module), atom(name), payload.length)
  const reference = connection.self.createRef()
  try {
    connection.send([SPAWN_REQUEST, reference, mailbox.pid, groupLeader, target, [atom(option)]], payload)
  } catch (error) {
    settle(error, true)
  }
  return promise
}

function okValue(result: Term): Term {
  const [ok, value] = isTuple(result) ? result.elements : []
  if (isAtom(ok, 'ok') && value !== undefined) return value
  throw failed('parsing', result)
}

function failed(what: string, reason: Term): RollcallError {
  return new RollcallError('rpc_failed', `[rpc] expected a value of ${what}, got ${showTerm(reason)}`)
}

/** A term as a person would write it, cut after 300 characters. */
export function showTerm(term: Term): string {
  const text = show(term)
  return text.length > MAX_SHOWN_CHARACTERS ? `${text.slice(0, MAX_SHOWN_CHARACTERS)}…` : text
}

function show(term: Term): string {
  if (term instanceof Uint8Array || (Array.isArray(term) && term.length > 0)) {
    const text = textOf(term)
    if (text !== undefined && /^[\t\n\x20-\x7e]+$/.test(text)) return JSON.stringify(text)
  }
  if (term instanceof Uint8Array) return `<<${term.length} bytes>>`
  if (Array.isArray(term)) return `[${term.slice(0, 20).map(show).join(',')}]`
  if (isTuple(term)) return `{${term.elements.slice(0, 20).map(show).join(',')}}`
  if (isAtom(term)) return term.name
  if (isKind(term, 'float')) return String(term.value)
  if (term instanceof Map) return `#{${term.size} keys}`
  return typeof term === 'object' ? `#${term.type}` : String(term)
}
