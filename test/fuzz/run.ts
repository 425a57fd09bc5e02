import { Worker } from 'node:worker_threads'
import { inspect } from 'node:util'
import type { Tally } from './fuzz-loop.ts'

/** An input that broke a promise of the target. */
export interface Finding {
  readonly error: string
  readonly input: Uint8Array
}

/** What a target came to. */
export type Report = (Tally & { readonly seconds: number }) | Finding

/** What a thread is told. */
export interface Order {
  readonly name: string
  readonly seed: number
  /** How long to go on, where no number of inputs is given. */
  readonly seconds: number
  readonly inputs: number | undefined
  /** Where it puts each input before it feeds it: their number, the length, the bytes. */
  readonly shared: SharedArrayBuffer
}

const SHARED_BYTES = 1024 * 1024
// The longest that one input may take, on a machine that has much else to do. Most take microseconds.
const HANG_MS = 20_000
// What a target may hold: all of them work on little, so that more is something that piles up, or that one input blew up.
const MAX_HEAP_MB = 512

/** Runs one target in a thread. A hang, a lack of memory, and what is thrown where nobody catches it are findings too. */
export async function runTarget(
  name: string,
  { seed, seconds = 0, inputs }: { seed: number; seconds?: number; inputs?: number | undefined },
): Promise<Report> {
  const shared = new SharedArrayBuffer(SHARED_BYTES)
  const order: Order = { name, seed, seconds, inputs, shared }
  const worker = new Worker(new URL('worker.ts', import.meta.url), {
    workerData: order,
    resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MB },
  })
  const { promise, resolve } = Promise.withResolvers<Report>()
  const head = new Int32Array(shared, 0, 2)
  const lastInput = () => Uint8Array.from(new Uint8Array(shared, head.byteLength, Atomics.load(head, 1)))
  const found = (error: string) => resolve({ error, input: lastInput() })
  let before = 0
  const watch = setInterval(() => {
    const fed = Atomics.load(head, 0)
    if (fed === before && fed > 0) found(`one input took more than ${HANG_MS} ms`)
    before = fed
  }, HANG_MS)
  worker.on('message', resolve)
  worker.on('error', (error) => found(inspect(error)))
  worker.on('exit', () => found('the thread ended before its time'))
  try {
    return await promise
  } finally {
    clearInterval(watch)
    await worker.terminate()
  }
}
