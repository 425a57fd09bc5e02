import { once } from 'node:events'
import type { Socket } from 'node:net'
import { RollcallError } from '../../core/error.ts'
import { within } from '../clock.ts'

/** How long each step of a set-up may take: the default of Erlang's `net_setuptime`. */
export const STEP_TIMEOUT_MS = 7_000

/** Length-prefixed frames out of a socket, asked for one at a time: the length of the prefix changes after the handshake. */
export interface FrameReader {
  /** The next frame's body; undefined when the peer has closed. Rejects with what destroyed the socket, and with `frame_too_large`. */
  next(headerBytes: 2 | 4, maxBytes: number): Promise<Buffer | undefined>
  /** How many bytes came so far, of unfinished frames too. */
  received(): number
}

/** Reads `socket` to its end; nobody else may read it. */
export function createFrameReader(socket: Socket): FrameReader {
  const incoming: AsyncIterator<Buffer> = socket[Symbol.asyncIterator]()
  let chunks: Buffer[] = []
  let buffered = 0
  let received = 0

  function join(): Buffer {
    const [first = Buffer.alloc(0), ...more] = chunks
    const joined = more.length === 0 ? first : Buffer.concat(chunks)
    chunks = [joined]
    return joined
  }

  function take(headerBytes: 2 | 4, maxBytes: number): Buffer | undefined {
    if (buffered < headerBytes) return undefined
    const [first] = chunks
    const start = first === undefined || first.length < headerBytes ? join() : first
    const length = start.readUIntBE(0, headerBytes)
    if (length > maxBytes) {
      throw new RollcallError('frame_too_large', `[beam] expected a frame of at most ${maxBytes} bytes, got ${length}`)
    }
    // Joined once, when the frame is whole: joining at each chunk made 50 MB take 16 s.
    if (buffered < headerBytes + length) return undefined
    const whole = join()
    const rest = whole.subarray(headerBytes + length)
    chunks = rest.length === 0 ? [] : [rest]
    buffered = rest.length
    return whole.subarray(headerBytes, headerBytes + length)
  }

  return {
    received: () => received,
    async next(headerBytes, maxBytes) {
      for (;;) {
        const frame = take(headerBytes, maxBytes)
        if (frame !== undefined) return frame
        const chunk = await incoming.next()
        if (chunk.done === true) return undefined
        chunks.push(chunk.value)
        buffered += chunk.value.length
        received += chunk.value.length
      }
    },
  }
}

/** Waits until `socket` emits `event`; else it is destroyed, and what `failure` makes of the cause is thrown (the signal's reason when that was it). */
export async function established(
  socket: Socket,
  event: 'connect' | 'secureConnect',
  {
    signal,
    timeoutMs,
    failure,
  }: { signal?: AbortSignal; timeoutMs: number; failure: (cause: unknown) => RollcallError },
): Promise<void> {
  // An error after this wait is seen by whoever reads the socket; without a listener it would end the process.
  socket.on('error', () => {})
  await within({ ms: timeoutMs, signal }, async (limit) => {
    try {
      await once(socket, event, { signal: limit })
    } catch (cause) {
      socket.destroy()
      signal?.throwIfAborted()
      throw failure(limit.aborted ? new Error(`no answer within ${timeoutMs} ms`) : cause)
    }
  })
}

/** The text of anything thrown; a failed attempt at several addresses has it in its parts only. */
export function causeOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(causeOf).join(', ')
  return error instanceof Error ? error.message : String(error)
}
