import type { PlanEvent } from '../core/plan.ts'
import type { NodeName } from '../core/node.ts'
import type { Log } from '../functions/resolvers/source.ts'

/** What happened, as the agent's listeners and its log are told; `type` is stable. */
export type AgentEvent =
  | PlanEvent
  | {
      type:
        | 'nodeup'
        | 'nodedown'
        | 'dial_failed'
        | 'disconnect_disputed'
        | 'disconnect_failed'
        | 'distribution_unreachable'
        | 'distribution_recovered'
        | 'leaving'
        | 'left'
        | 'leave_failed'
        | 'plan_failed'
        | 'events_dropped'
      topology?: string
      source?: string
      node?: NodeName
      /** Of the error that it is about. */
      code?: string
      message: string
    }

export type AgentEventType = AgentEvent['type']
export type Listener = (event: AgentEvent) => void | Promise<void>

/** Who is told of what happens: the log, listeners, and readers of streams. */
export interface Events {
  readonly emit: (event: AgentEvent) => void
  /** Calls `listener` at each event of the type, or at every one for `*`; gives the undo. */
  readonly on: (type: AgentEventType | '*', listener: Listener) => () => void
  /** Every event from now on, until the agent stops. */
  readonly stream: () => AsyncIterableIterator<AgentEvent>
  readonly close: () => void
}

// Who reads this slowly has lost touch; what is kept for it must be bounded.
const MAX_BUFFERED = 1_000

const WARNINGS = new Set<AgentEventType>([
  'source_failed',
  'source_doubted',
  'source_blocks_removal',
  'members_skipped',
  'guard_raised',
  'self_not_listed',
  'state_discarded',
  'dial_failed',
  'disconnect_disputed',
  'disconnect_failed',
  'distribution_unreachable',
  'leave_failed',
  'plan_failed',
])
// One for each member: at a start there are as many of them as members.
const DETAILS = new Set<AgentEventType>(['member_listed', 'member_forgotten', 'member_renewed'])

/** Makes the one place through which all events go. `log` is asked for at each event, since it may come later. */
export function createEvents(log: () => Log): Events {
  const listeners = new Set<{ type: string; listener: Listener }>()
  const closed = new AbortController()

  /** A listener must not end the agent, neither by a throw nor by a rejection that nobody handles. */
  async function tell(listener: Listener, event: AgentEvent): Promise<void> {
    try {
      await listener(event)
    } catch (err) {
      log().error({ err, type: event.type }, 'a listener threw')
    }
  }

  function on(type: AgentEventType | '*', listener: Listener): () => void {
    const entry = { type, listener }
    listeners.add(entry)
    return () => void listeners.delete(entry)
  }

  return {
    on,

    emit(event) {
      const { message, ...fields } = event
      const level = WARNINGS.has(event.type) ? 'warn' : DETAILS.has(event.type) ? 'debug' : 'info'
      log()[level](fields, message)
      for (const { type, listener } of listeners) {
        if (type === '*' || type === event.type) void tell(listener, event)
      }
    },

    stream() {
      const buffer: AgentEvent[] = []
      let more = Promise.withResolvers<void>()
      function wake(): void {
        more.resolve()
        more = Promise.withResolvers()
      }
      const off = on('*', (event) => {
        if (buffer.length >= MAX_BUFFERED) {
          const message = `this reader is slower than the events: the oldest ${MAX_BUFFERED} are dropped`
          buffer.splice(0, MAX_BUFFERED, { type: 'events_dropped', message })
        }
        buffer.push(event)
        wake()
      })
      closed.signal.addEventListener('abort', wake, { once: true })
      const ended = new AbortController()
      return {
        async next() {
          while (buffer.length === 0 && !ended.signal.aborted && !closed.signal.aborted) await more.promise
          const value = ended.signal.aborted ? undefined : buffer.shift()
          return value === undefined ? { value, done: true } : { value, done: false }
        },
        async return() {
          ended.abort()
          off()
          closed.signal.removeEventListener('abort', wake)
          wake()
          return { value: undefined, done: true }
        },
        [Symbol.asyncIterator]() {
          return this
        },
      }
    },

    close: () => closed.abort(),
  }
}
