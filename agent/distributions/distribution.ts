import type { NodeName } from '../../core/node.ts'

/** The mesh's own transport, as the agent sees it: what libcluster calls connect, disconnect and list_nodes. */
export interface Distribution {
  readonly self: NodeName
  /** The node ends when this closes (a member): who stops its agent takes it out of the mesh. */
  readonly isNode?: boolean
  /** Where the own node is dialled, if its name alone does not tell. */
  readonly address?: { host: string; port: number }
  list(): Promise<NodeName[]>
  /** Throws a `RollcallError` with a code that a person can act on. */
  connect(node: NodeName, options: { address?: { host: string; port: number }; signal: AbortSignal }): Promise<void>
  /** May refuse: code `disputed`. */
  disconnect(node: NodeName, options: { reason: 'leaving' | 'absent'; signal: AbortSignal }): Promise<void>
  /** Takes the own node out of the mesh. `members` are those links that are known to be of it: where others may have links to the node too, those stay. */
  leave(members?: readonly NodeName[]): Promise<void>
  changes?(signal: AbortSignal): AsyncIterable<{ node: NodeName; up: boolean }>
  close(): Promise<void>
}
