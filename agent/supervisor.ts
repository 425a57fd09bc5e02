import { RollcallError } from '../core/error.ts'
import { backoffMs, type Clock, turn, withDeadline } from './clock.ts'

export interface SuperviseOptions<T> {
  /** What it is called in a message. */
  name: string
  signal: AbortSignal
  clock: Clock
  /** A stream that is silent for longer is dead, whatever it says; Infinity where silence is normal. */
  silenceMs: number
  /** The next item is not asked for until this is done, so that a flood waits at its source. */
  onItem: (item: T) => void | Promise<void>
  /** Told why the stream ended, each time. */
  onEnd: (error: unknown) => void
}

const BASE_MS = 1_000
const MAX_MS = 30_000

/** Reads a stream until `signal`. One that throws, ends or falls silent is opened again, after a wait, for ever. */
export async function supervise<T>(
  open: (signal: AbortSignal) => AsyncIterable<T>,
  options: SuperviseOptions<T>,
): Promise<void> {
  const { signal, clock, onEnd } = options
  let failures = 0
  while (!signal.aborted) {
    const openedAt = clock.now()
    const error = await readToEnd(open, options)
    if (signal.aborted) return
    onEnd(error)
    // One that gives something and then fails, each time, is no better than one that gives nothing.
    failures = clock.now() - openedAt > MAX_MS ? 0 : failures + 1
    await clock.sleep(backoffMs(failures, { baseMs: BASE_MS, maxMs: MAX_MS, clock }), signal)
  }
}

async function readToEnd<T>(
  open: (signal: AbortSignal) => AsyncIterable<T>,
  { name, signal, clock, silenceMs, onItem }: SuperviseOptions<T>,
): Promise<unknown> {
  const own = new AbortController()
  const abort = () => own.abort()
  signal.addEventListener('abort', abort, { once: true })
  let iterator: AsyncIterator<T> | undefined
  try {
    const items = (iterator = open(own.signal)[Symbol.asyncIterator]())
    const deadline = { ms: silenceMs, signal, clock, expected: `[${name}] expected a sign of life` }
    for (;;) {
      const item = await withDeadline(() => items.next(), deadline)
      if (item.done) return new RollcallError('watch_ended', `[${name}] expected a stream without end, got its end`)
      await onItem(item.value)
      // An iterator that always has something ready would leave no turn to anybody else.
      await turn()
    }
  } catch (error) {
    return error
  } finally {
    own.abort()
    signal.removeEventListener('abort', abort)
    void giveUp(iterator)
  }
}

async function giveUp(iterator: AsyncIterator<unknown> | undefined): Promise<void> {
  try {
    await iterator?.return?.()
  } catch {
    // What it throws now is about its end only, and that is known. One that hangs answers never.
  }
}
