/** The one line of virtual time of a run, in ms; ticks happen in order of their instant, then of their making. */
export interface Time {
  /** Ms since the run began. */
  readonly now: () => number
  /** Does `run` after `ms`, rounded up to a whole ms; gives the undo. */
  readonly after: (ms: number, run: () => void) => () => void
  /** Lets time pass until `until`. `settle` is awaited after each instant: there everything that follows from it happens. */
  runUntil(until: number, settle?: () => Promise<void>): Promise<void>
}

interface Tick {
  readonly at: number
  readonly order: number
  run: (() => void) | undefined
}

/** Makes a time that stands at 0. */
export function createTime(): Time {
  const heap: Tick[] = []
  let now = 0
  let made = 0

  /** Does all that is due at the next instant. */
  function step(): void {
    now = heap[0]?.at ?? now
    while (heap[0]?.at === now) pop(heap)?.run?.()
  }

  return {
    now: () => now,

    after(ms, run) {
      const tick: Tick = { at: now + Math.ceil(Math.max(0, ms)), order: made++, run }
      push(heap, tick)
      // Left in the heap until its instant: taking it out costs more than passing over it.
      return () => void (tick.run = undefined)
    },

    async runUntil(until, settle) {
      if (settle !== undefined) await settle()
      while ((heap[0]?.at ?? Infinity) <= until) {
        step()
        if (settle !== undefined) await settle()
      }
      now = until
    },
  }
}

function isBefore(a: Tick, b: Tick): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}

function push(heap: Tick[], tick: Tick): void {
  let at = heap.length
  while (at > 0) {
    const above = (at - 1) >> 1
    const parent = heap[above]
    if (parent === undefined || !isBefore(tick, parent)) break
    heap[at] = parent
    at = above
  }
  heap[at] = tick
}

function pop(heap: Tick[]): Tick | undefined {
  const [first] = heap
  const last = heap.pop()
  if (last === undefined || last === first) return first
  let at = 0
  for (;;) {
    const [left, right] = [heap[2 * at + 1], heap[2 * at + 2]]
    const isRight = right !== undefined && left !== undefined && isBefore(right, left)
    const child = isRight ? right : left
    if (child === undefined || !isBefore(child, last)) break
    heap[at] = child
    at = isRight ? 2 * at + 2 : 2 * at + 1
  }
  heap[at] = last
  return first
}
