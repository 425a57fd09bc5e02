import { RollcallError } from '../error.ts'
import { type Member, mergeMembers, up } from '../member.ts'
import { isNodeName } from '../node.ts'

/** What was read of one answer: the members, and why there may be more of them. */
export interface Finding {
  readonly members: readonly Member[]
  readonly flaws: readonly string[]
}

/** The part of an observation that says who is there. */
export type Outcome =
  | { outcome: 'complete'; members: Member[] }
  | { outcome: 'partial'; members: Member[]; reason: string }

const MAX_REASONS = 3

/** `complete`, each member once and sorted, so that equal answers give equal arrays; `partial` where there are flaws. */
export function outcomeOf({ members, flaws }: Finding): Outcome {
  const sorted = mergeMembers([members])
  if (flaws.length === 0) return { outcome: 'complete', members: sorted }
  return { outcome: 'partial', members: sorted, reason: summaryOf(flaws) }
}

/** What several that were asked found together: who failed is a flaw. Throws the first failure where all failed. */
export function together(parts: readonly (Finding | RollcallError)[]): Finding {
  const failures = parts.filter((part) => part instanceof RollcallError)
  const [first] = failures
  if (first !== undefined && failures.length === parts.length) throw first
  return {
    members: parts.flatMap((part) => (part instanceof RollcallError ? [] : part.members)),
    flaws: parts.flatMap((part) => (part instanceof RollcallError ? [part.message] : part.flaws)),
  }
}

/**
 * What each entry of an answer gave: a member, a text that says why it is left out, or nothing where it is no member at all. Throws
 * `bad_answer` where nothing but flaws is left: that is no list of nobody.
 */
export function findingOf(entries: readonly (Member | string | undefined)[]): Finding {
  const members = entries.filter((entry) => typeof entry === 'object')
  const flaws = entries.filter((entry) => typeof entry === 'string')
  if (members.length === 0 && flaws.length > 0) throw new RollcallError('bad_answer', summaryOf(flaws))
  return { members, flaws }
}

/** A member of that name, or a text that says why there can be none. */
export function memberNamed(node: string, part: string): Member | string {
  const quoted = JSON.stringify(node.slice(0, 60))
  return isNodeName(node) ? up(node) : `[${part}] expected a node name, got ${quoted}`
}

/** The first few of these texts, each once. */
function summaryOf(flaws: readonly string[]): string {
  const reasons = [...new Set(flaws)].sort()
  const more = reasons.length - MAX_REASONS
  const named = reasons.slice(0, MAX_REASONS).join('; ')
  return more > 0 ? `${named}; and ${more} more` : named
}
