import { atom, isAtom, isKind, isTuple, type Pid, type Ref, type Term, tuple } from './etf.ts'
import type { Line } from './node.ts'

// What `gen_server` sends around its requests; OTP documents none of it, and keeps it for the sake of mixed clusters.

const SEND = 2
const PAYLOAD_MONITOR_P_EXIT = 28
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

/** Tells a caller that the process it called has ended: its monitor has the reference that is the alias of the tag. */
export function fail({ pid, tag }: Caller, server: Term, reason: Term, line: Line): void {
  const ref = aliasOf(tag) ?? tag
  if (isKind(ref, 'ref')) line.send([PAYLOAD_MONITOR_P_EXIT, server, pid, ref], reason)
}

/** `[alias | Ref]`, or that as the head of a further list. */
function aliasOf(tag: Term): Ref | undefined {
  if (!isKind(tag, 'improper') && !Array.isArray(tag)) return undefined
  const [head] = Array.isArray(tag) ? tag : tag.elements
  if (isAtom(head, 'alias') && !Array.isArray(tag)) return isKind(tag.tail, 'ref') ? tag.tail : undefined
  return head === undefined ? undefined : aliasOf(head)
}
