import { RollcallError } from '../../core/error.ts'
import { ask, type CallOptions } from './ask.ts'
import { atom, charlist, isAtom, isKind, isTuple, type Pid, type Term, textOf, tuple } from './etf.ts'
import type { Line, Signal } from './node.ts'

const SPAWN_REQUEST = 29
// A `net_kernel:connect_node/1` alone takes up to 7 s a step.
const CALL_TIMEOUT_MS = 15_000
// A message is for a person: what a crashed node says of itself can be megabytes.
const MAX_SHOWN_CHARACTERS = 300

/**
 * Calls `module:name(...args)` on the peer as `erpc:call` does (OTP 23 and later) and gives its value. Rejects with
 * `rpc_failed` when it raised there, `rpc_timeout`, the signal's reason, or what ended the connection.
 */
export function call(
  line: Line,
  module: string,
  name: string,
  args: readonly Term[],
  options: CallOptions = {},
): Promise<Term> {
  const what = `${module}:${name}/${args.length} at ${line.peer}`
  const request = {
    what,
    module: 'erpc',
    name: 'execute_call',
    args: () => [line.self.createRef(), atom(module), atom(name), [...args]],
    option: 'monitor' as const,
  }
  return spawn(line, request, options, (signal) => {
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
  line: Line,
  source: string,
  receive: (signal: Signal) => void,
  options: CallOptions = {},
): Promise<void> {
  const tokens = okValue(await call(line, 'erl_scan', 'string', [charlist(source)], options))
  const forms = okValue(await call(line, 'erl_parse', 'parse_exprs', [tokens], options))
  const what = `erl_eval:exprs/2 at ${line.peer}`
  const request = {
    what,
    module: 'erl_eval',
    name: 'exprs',
    args: (pid: Pid) => [forms, [tuple(atom('Agent'), pid)]],
    option: 'link' as const,
  }
  await spawn(line, request, options, (signal) => {
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
  line: Line,
  { what, module, name, args, option }: SpawnRequest,
  { timeoutMs = CALL_TIMEOUT_MS, signal }: CallOptions,
  receive: (signal: Signal) => Term | RollcallError | undefined,
): Promise<Term> {
  return ask(line, {
    what,
    timeoutMs,
    signal,
    receive,
    lasting: option === 'link',
    begin({ pid }) {
      // Pid 0 is nobody: a process that prints there learns `noproc`, where a live mailbox would leave it waiting.
      const groupLeader = { ...pid, id: 0, serial: 0 }
      const payload = args(pid)
      const target = tuple(atom(module), atom(name), payload.length)
      line.send([SPAWN_REQUEST, line.self.createRef(), pid, groupLeader, target, [atom(option)]], payload)
    },
  })
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
