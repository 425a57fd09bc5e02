import { RollcallError } from '../../core/error.ts'
import type { NodeName } from '../../core/node.ts'
import { ask, type CallOptions } from './ask.ts'
import { atom, isAtom, isKind, isTuple, type Pid, type Ref, type Term, tuple } from './etf.ts'
import { raised } from './exposed.ts'
import type { Line, Mailbox, Signal } from './node.ts'
import { showTerm } from './rpc.ts'

/** What answers at a registered name, as a gen_server does. Nothing that it throws ends the process. */
export interface Handler {
  /** A `gen_server:call`: what this gives or resolves with is the reply; what it throws ends the call there. */
  call?(request: Term, caller: Pid): Term | Promise<Term>
  /** A `gen_server:cast`. */
  cast?(request: Term): unknown
  /** Any other message, and the end of a process that is linked. */
  info?(message: Term): unknown
}

// What `gen_server` sends around its requests; OTP documents none of it, and keeps it for the sake of mixed clusters.

const SEND = 2
const REG_SEND = 6
const MONITOR_P = 19
const DEMONITOR_P = 20
const ALIAS_SEND = 33

/** Who waits for the answer of a `gen_server:call`, and under which tag. */
export interface Caller {
  readonly pid: Pid
  readonly tag: Term
}

/** The request in a `$gen_call`; undefined where the message is none. */
export function readServerCall(message: Term): { from: Caller; request: Term } | undefined {
  if (!isTuple(message, 3) || !isAtom(message.elements[0], '$gen_call')) return undefined
  const [, from, request] = message.elements
  const [pid, tag] = isTuple(from, 2) ? from.elements : []
  return isKind(pid, 'pid') && tag !== undefined && request !== undefined ? { from: { pid, tag }, request } : undefined
}

/** Answers a call as `gen_server:reply/2` does: through the alias in the tag where there is one, so that what comes too late is dropped there. */
export function reply({ pid, tag }: Caller, value: Term, { server, line }: { server: Pid; line: Line }): void {
  const alias = aliasOf(tag)
  if (alias === undefined) line.send([SEND, atom(''), pid], tuple(tag, value))
  else line.send([ALIAS_SEND, server, alias], tuple(tag, value))
}

/** Makes the receiver of a named mailbox out of a handler; `onError` hears what casts and other messages throw. */
export function serve(handler: Handler, mailbox: () => Mailbox, onError: (error: unknown) => void) {
  async function answer(from: Caller, request: Term, line: Line): Promise<void> {
    try {
      if (handler.call === undefined) throw new TypeError('this name takes no calls')
      reply(from, await handler.call(request, from.pid), { server: mailbox().pid, line })
    } catch (error) {
      const monitor = aliasOf(from.tag) ?? from.tag
      if (isKind(monitor, 'ref')) mailbox().fail(monitor, raised(error))
    }
  }

  async function take(message: Term): Promise<void> {
    try {
      const cast = isTuple(message, 2) && isAtom(message.elements[0], '$gen_cast') ? message.elements[1] : undefined
      if (cast === undefined) await handler.info?.(message)
      else await handler.cast?.(cast)
    } catch (error) {
      onError(error)
    }
  }

  return (signal: Signal, line: Line): void => {
    if (signal.type === 'closed') return
    const called = signal.type === 'message' ? readServerCall(signal.term) : undefined
    void (called === undefined ? take(signal.term) : answer(called.from, called.request, line))
  }
}

/** A process elsewhere: its pid, or its registered name at a node. */
export type Target = Pid | { readonly node: NodeName; readonly name: string }

/** Sends `message` as it is. */
export function sendTo(line: Line, target: Target, message: Term, from: Pid): void {
  if ('type' in target) line.send([SEND, atom(''), target], message)
  else line.send([REG_SEND, from, atom(''), atom(target.name)], message)
}

/**
 * Calls a gen_server as `gen_server:call` does, and gives its reply. Rejects with `call_failed` when there is none or it ends, and
 * as {@link ask} does.
 */
export function callServer(
  line: Line,
  target: Target,
  request: Term,
  { timeoutMs = 5_000, signal }: CallOptions = {}, // as gen_server
): Promise<Term> {
  const what = `${'type' in target ? 'a process' : target.name} at ${line.peer}`
  const server = 'type' in target ? target : atom(target.name)
  const ref = line.self.createRef()
  return ask(line, {
    what,
    timeoutMs,
    signal,
    begin(mailbox) {
      line.send([MONITOR_P, mailbox.pid, server, ref])
      sendTo(line, target, tuple(atom('$gen_call'), tuple(mailbox.pid, ref), request), mailbox.pid)
    },
    receive(event) {
      if (event.type === 'closed') return undefined
      if (event.type === 'down') {
        const end = showTerm(event.term)
        return new RollcallError('call_failed', `[beam] expected a reply of ${what}, got its end: ${end}`)
      }
      // Nobody else knows this mailbox: any pair is the tag and the reply.
      return event.type === 'message' && isTuple(event.term, 2) ? event.term.elements[1] : undefined
    },
    end: (mailbox) => line.send([DEMONITOR_P, mailbox.pid, server, ref]),
  })
}

/** Watches a process: `listener` hears once why it ended, `noproc` where there was none and `noconnection` when the line ended. Gives the undo. */
export function monitor(line: Line, target: Target, listener: (reason: Term) => void): () => void {
  const server = 'type' in target ? target : atom(target.name)
  const ref = line.self.createRef()
  const mailbox = line.open((signal) => {
    if (signal.type === 'closed') return listener(atom('noconnection'))
    if (signal.type !== 'down') return
    mailbox.close()
    listener(signal.term)
  })
  line.send([MONITOR_P, mailbox.pid, server, ref])
  return () => {
    mailbox.close()
    line.send([DEMONITOR_P, mailbox.pid, server, ref])
  }
}

/** `[alias | Ref]`, or that as the head of a further list. */
function aliasOf(tag: Term): Ref | undefined {
  if (!isKind(tag, 'improper') && !Array.isArray(tag)) return undefined
  const [head] = Array.isArray(tag) ? tag : tag.elements
  if (isAtom(head, 'alias') && !Array.isArray(tag)) return isKind(tag.tail, 'ref') ? tag.tail : undefined
  return head === undefined ? undefined : aliasOf(head)
}
