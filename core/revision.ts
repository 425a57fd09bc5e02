import { hash64 } from './hash.ts'
import type { Member } from './member.ts'

/** Names content: equal for equal members and source outcomes, whatever the time, the order or the host. */
export function revisionOf(
  members: readonly Member[],
  sources: readonly { source: string; outcome: string }[],
): string {
  const canonical = members.map(({ node, status, id, address, meta }) =>
    JSON.stringify([
      node,
      status,
      id,
      address && [address.host, address.port],
      meta && Object.entries(meta).toSorted(([a], [b]) => (a < b ? -1 : 1)),
    ]),
  )
  return hash64(JSON.stringify([canonical.sort(), sources.map(({ source, outcome }) => `${outcome} ${source}`).sort()]))
}
