import { excerpt } from '../excerpt.ts'
import { type Member, memberSchema, mergeMembers } from '../member.ts'

/** What could be read of a list from outside. */
export interface Entries {
  /** Each name once, sorted. */
  readonly members: Member[]
  /** Why there may be more of them; absent where every entry is a member. */
  readonly flaw?: string
}

/** Reads each entry by itself, so that one that is no member hides no other. `read` gives undefined for what is none. */
export function readEntries(entries: readonly unknown[], read = memberIn): Entries {
  const listed = entries.map(read)
  const members = mergeMembers([listed.filter((member) => member !== undefined)])
  const odd = entries.filter((_entry, index) => listed[index] === undefined)
  if (odd.length === 0) return { members }
  return {
    members,
    flaw: `${odd.length} of ${entries.length} entries are no members, the first is ${excerpt(odd[0])}`,
  }
}

/** A member as rollcall writes it; undefined where it is none. */
export function memberIn(entry: unknown): Member | undefined {
  return memberSchema.safeParse(entry).data as Member | undefined
}
