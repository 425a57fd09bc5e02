import { byName, type Member } from './member.ts'
import { isNodeName, type NodeName } from './node.ts'

/** What an answer changes: whom it names now, whom for the first time, whom not any more, and what were no names. Names are in order. */
export interface Change {
  /** The answer in order, each name once. */
  readonly members: readonly Member[]
  readonly listed: NodeName[]
  readonly added: NodeName[]
  readonly unnamed: NodeName[]
  readonly skipped: unknown[]
}

/** Compares an answer with the names of the one before. Entries that are no names are skipped; a name that stands in it twice counts once. */
export function changeOf(before: readonly NodeName[], answer: readonly Member[]): Change {
  // Nearly every answer is in order, and so is what it is compared with: no set of names has to be built.
  const names = isInOrder(before) ? before : [...new Set(before)].sort()
  if (isInOrder(answer.map((member) => member?.node))) return changeInOrder(names, answer)
  const isNamed = (member: Member) => isNodeName(member?.node)
  const odd = answer.filter((member) => !isNamed(member))
  const change = changeInOrder(names, withoutRepeats(answer.filter(isNamed)))
  return { ...change, skipped: odd.map((member) => member?.node) }
}

function isInOrder(names: readonly unknown[]): boolean {
  let previous = ''
  for (const name of names) {
    // What is no text would be made one to be compared, and may throw at that.
    if (!(typeof name === 'string' && name > previous)) return false
    previous = name
  }
  return true
}

/** By merging the two. */
function changeInOrder(before: readonly NodeName[], members: readonly Member[]): Change {
  const [listed, added, unnamed, skipped]: [NodeName[], NodeName[], NodeName[], unknown[]] = [[], [], [], []]
  let at = 0
  for (const { node } of members) {
    for (let other = before[at]; other !== undefined && other < node; other = before[++at]) unnamed.push(other)
    if (before[at] === node) at++
    else if (isNodeName(node)) added.push(node)
    else {
      skipped.push(node)
      continue
    }
    listed.push(node)
  }
  return { members, listed, added, unnamed: [...unnamed, ...before.slice(at)], skipped }
}

/** In order. Of two records of one name the one with another id is a successor, and `up` is right; with the same id `leaving` is. */
function withoutRepeats(members: readonly Member[]): Member[] {
  const chosen = new Map<NodeName, Member>()
  for (const member of members) {
    const other = chosen.get(member.node)
    const preferred = other?.id === member.id ? 'leaving' : 'up'
    if (other === undefined || member.status === preferred) chosen.set(member.node, member)
  }
  return [...chosen.values()].sort(byName)
}
