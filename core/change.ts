import type { Member } from './member.ts'
import { isNodeName, type NodeName } from './node.ts'

/** What an answer changes: whom it names now, in its order, whom for the first time, whom not any more, and what were no names. */
export interface Change {
  /** The answer, each name once. */
  readonly members: readonly Member[]
  readonly listed: NodeName[]
  readonly added: NodeName[]
  readonly unnamed: Iterable<NodeName>
  readonly skipped: unknown[]
}

/** Compares an answer with the names of the one before. Entries that are no names are skipped; a name that stands in it twice counts once. */
export function changeOf(before: readonly NodeName[], members: readonly Member[]): Change {
  const change = sortedChange(before, members) ?? unsortedChange(before, members)
  return change === undefined ? changeOf(before, withoutRepeats(members)) : { ...change, members }
}

/** By merging, without any set: for answers in order, as most sources give them. Undefined where either is not. */
function sortedChange(before: readonly NodeName[], members: readonly Member[]): Omit<Change, 'members'> | undefined {
  const [listed, added, unnamed]: [NodeName[], NodeName[], NodeName[]] = [[], [], []]
  let [at, last, previous] = [0, '', '']
  for (const member of members) {
    const node = member?.node
    // What is no text would be made one to be compared, and may throw at that.
    if (!(typeof node === 'string' && node > previous)) return undefined
    for (let other = before[at]; other !== undefined && other < node; other = before[++at]) {
      if (other <= last) return undefined
      unnamed.push(other)
      last = other
    }
    if (before[at] === node) {
      at++
      last = node
    } else {
      if (!isNodeName(node)) return undefined
      added.push(node)
    }
    listed.push(node)
    previous = node
  }
  for (const other of before.slice(at)) {
    if (other <= last) return undefined
    unnamed.push(other)
    last = other
  }
  return { listed, added, unnamed, skipped: [] }
}

/** In any order. Undefined when a name stands in it twice. */
function unsortedChange(before: readonly NodeName[], members: readonly Member[]): Omit<Change, 'members'> | undefined {
  // Emptied as it goes: what is left of it was not named. A second set is a cost that shows at 100,000 nodes.
  const unnamed = new Set(before)
  const added = new Set<NodeName>()
  const listed: NodeName[] = []
  const skipped: unknown[] = []
  for (const member of members) {
    const node = member?.node
    if (!unnamed.delete(node)) {
      if (!isNodeName(node)) {
        skipped.push(node)
        continue
      }
      added.add(node)
    }
    listed.push(node)
  }
  // What was named before and is named twice looks new the second time.
  if (added.size > 0 && listed.filter((node) => added.has(node)).length > added.size) return undefined
  return { listed, added: [...added], unnamed, skipped }
}

/** Of two records of one name the one with another id is a successor, and `up` is right; with the same id `leaving` is. */
function withoutRepeats(members: readonly Member[]): Member[] {
  const chosen = new Map<NodeName, Member>()
  for (const member of members) {
    const other = chosen.get(member?.node)
    const preferred = other?.id === member?.id ? 'leaving' : 'up'
    if (other === undefined || member?.status === preferred) chosen.set(member?.node, member)
  }
  return [...chosen.values()]
}
