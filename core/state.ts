import * as z from 'zod/mini'
import { nodeNameSchema } from './member.ts'
import type { NodeName } from './node.ts'

/**
 * What `plan` remembers, as plain JSON. Two kinds of time: fields ending in `At` are ms since the Unix epoch; fields ending
 * in `Clock` are on the topology's `clock`, which runs only while somebody observes, so that a sleep or a clock jump counts
 * for nothing.
 */
export interface State {
  readonly version: 1
  readonly self: NodeName
  /** `now` of the plan that wrote it. */
  readonly at: number
  readonly topologies: Record<string, TopologyState>
  /** Known peers without link, and linked ones with a penalty left. A known peer that is not here had a link. */
  readonly peers: Record<NodeName, PeerState>
}

export interface TopologyState {
  /** Observed ms: each plan adds the time since the last one, at most one interval. */
  clock: number
  formed: boolean
  sources: Record<string, SourceState>
  /** Decided to go, and still linked (or self). */
  removed: NodeName[]
  /** When each removal within `confirm` was decided. */
  removalClocks: number[]
  /** When so many links were last lost at once that none of them was blamed. */
  blamelessClock?: number
  /** Conditions that were reported and still hold, so that each is an event once. */
  reported: ('guard' | 'self_not_listed' | 'source_blocks_removal')[]
}

export interface SourceState {
  /** The newest `at` counted. */
  at?: number
  /** `at` of the newest observation counted whose own time lay ahead of ours: it must not be counted again later. */
  ahead?: number
  outcome?: 'complete' | 'partial' | 'failed'
  error?: { code: string; message: string }
  /** The last answer was `complete`, and is not believed in what it leaves out. */
  doubted?: true
  /** Until when its answers are doubted for having brought nodes back. */
  doubtedUntilClock?: number
  /** When it last answered, complete or partial. */
  answeredAt?: number
  answeredClock?: number
  /** Whom its last answer named. */
  listed: NodeName[]
  /** Whom it named before, and the last answer did not. */
  missing: Record<NodeName, Missing>
  details: Record<NodeName, { id?: string; address?: { host: string; port: number } }>
  /** Whom it said to be leaving, and since when. */
  leavingClocks: Record<NodeName, number>
  /** The last two nodes that it brought back though their links had stood all the while. */
  returnedClocks: Record<NodeName, number>
}

export interface Missing {
  /** When it was last named. */
  namedClock: number
  misses: number
  missedMs: number
  /** Its link has stood ever since. */
  linked?: true
}

export interface PeerState {
  /** Dials since it last had a link. */
  attempt: number
  /** The dial that is under way. */
  dialledAt?: number
  /** Not dialled before. */
  retryAt?: number
  penalty?: number
  penaltyAt?: number
  /** It had a link once. */
  lost?: true
  /** It has a link now; only the penalty is remembered. */
  linked?: true
}

/** A state that knows nothing. */
export function emptyState(self: NodeName, now: number): State {
  return { version: 1, self, at: now, topologies: {}, peers: {} }
}

/** A topology that was never observed. */
export const NEW_TOPOLOGY: Readonly<TopologyState> = {
  clock: 0,
  formed: false,
  sources: {},
  removed: [],
  removalClocks: [],
  reported: [],
}

/** A source that was never heard. */
export const UNHEARD: Readonly<SourceState> = {
  listed: [],
  missing: {},
  details: {},
  leavingClocks: {},
  returnedClocks: {},
}

/** What stands under `key`, which may be any text: a topology may be called `constructor`. */
export function ownEntry<Value>(record: Readonly<Record<string, Value>>, key: string): Value | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined
}

/** Whether any source ever listed the node, as far as is remembered. */
export function isKnown(state: State, node: NodeName): boolean {
  return Object.values(state.topologies).some(({ sources }) =>
    Object.values(sources).some(({ listed, missing }) => Object.hasOwn(missing, node) || listed.includes(node)),
  )
}

/** A source of a state as something that may be written to, its instants not ahead of `now`, its links as they stand now. */
export function workingCopy(source: SourceState, now: number, linked: ReadonlySet<NodeName>): SourceState {
  const copy: SourceState = {
    ...source,
    missing: dictionary(
      Object.entries(source.missing).map(([node, missing]) => {
        if (!missing.linked || linked.has(node)) return [node, missing]
        const { linked: _gone, ...rest } = missing
        return [node, rest]
      }),
    ),
    leavingClocks: { ...source.leavingClocks },
    returnedClocks: { ...source.returnedClocks },
  }
  if ((copy.at ?? 0) > now) copy.at = now
  if ((copy.answeredAt ?? 0) > now) copy.answeredAt = now
  return copy
}

/**
 * As `Object.fromEntries`. For many keys ten times faster: V8 would make a hidden class for each new name, and gives up on
 * them after a deletion.
 */
export function dictionary<Value>(entries: readonly (readonly [string, Value])[]): Record<string, Value> {
  if (entries.length < 50) return Object.fromEntries(entries)
  const filled: Record<string, Value | undefined> = { a: undefined, b: undefined }
  delete filled.a
  delete filled.b
  for (const [key, value] of entries) filled[key] = value
  return filled as Record<string, Value>
}

// The farthest instant that a Date has, in ms: no sum of such is infinite, which JSON could not hold.
const FARTHEST = 8.64e15
const time = z.number().check(z.gte(-FARTHEST), z.lte(FARTHEST))
const maybeTime = z.optional(time)
// Any other text may be a name that every object of JavaScript has.
const node = nodeNameSchema
const flag = z.optional(z.literal(true))
const times = z.record(node, time)
const stateSchema = z.object({
  version: z.literal(1),
  self: node,
  at: time,
  topologies: z.record(
    z.string(),
    z.object({
      clock: time,
      formed: z.boolean(),
      removed: z.array(node),
      removalClocks: z.array(time),
      blamelessClock: maybeTime,
      reported: z.array(z.enum(['guard', 'self_not_listed', 'source_blocks_removal'])),
      sources: z.record(
        z.string(),
        z.object({
          at: maybeTime,
          ahead: maybeTime,
          outcome: z.optional(z.enum(['complete', 'partial', 'failed'])),
          error: z.optional(z.object({ code: z.string(), message: z.string() })),
          doubted: flag,
          doubtedUntilClock: maybeTime,
          answeredAt: maybeTime,
          answeredClock: maybeTime,
          listed: z.array(node),
          missing: z.record(node, z.object({ namedClock: time, misses: time, missedMs: time, linked: flag })),
          details: z.record(
            node,
            z.object({
              id: z.optional(z.string()),
              address: z.optional(z.object({ host: z.string(), port: z.number() })),
            }),
          ),
          leavingClocks: times,
          returnedClocks: times,
        }),
      ),
    }),
  ),
  peers: z.record(
    node,
    z.object({
      attempt: time,
      dialledAt: maybeTime,
      retryAt: maybeTime,
      penalty: maybeTime,
      penaltyAt: maybeTime,
      lost: flag,
      linked: flag,
    }),
  ),
})

const headSchema = z.looseObject({ version: z.number(), self: z.string() })

/**
 * A state that came from outside (a file, an HTTP body), or undefined when it has not the shape of one.
 * One of another version or of another node has it as far as this goes: `plan` discards it with an event.
 */
export function parseState(value: unknown): State | undefined {
  const state = dataOf(stateSchema, value)
  if (state !== undefined) return state as State
  const { version, self } = dataOf(headSchema, value) ?? {}
  if (version === undefined || self === undefined || version === 1) return undefined
  return { ...emptyState(self, 0), version } as unknown as State
}

function dataOf<Parsed>(schema: z.ZodMiniType<Parsed>, value: unknown): Parsed | undefined {
  try {
    return schema.safeParse(value).data
  } catch (error) {
    // zod notes each wrong entry, and exhausts the stack with more than some 100,000 of them.
    if (error instanceof RangeError) return undefined
    throw error
  }
}
