import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { Order } from './many-worker.ts'
import type { SeedRun } from './seed-run.ts'

export interface CrewOptions {
  readonly from: number
  readonly count: number
  readonly cores: number
  /** Ends all that is under way. */
  readonly signal: AbortSignal
  /** Whether a violation that is found from now on is to be explained. */
  readonly explains: () => boolean
  readonly onRun: (done: SeedRun) => void
  /** A seed whose thread ended: it took all memory, or something in it was rejected and nobody cared. */
  readonly onCrash: (seed: number, error: unknown) => void
}

/** Runs so many seeds, from one on, each core one after the other. Resolves when all are done, or on `signal`. */
export async function runSeeds({ from, count, cores, signal, ...told }: CrewOptions): Promise<void> {
  let next = from

  async function work(): Promise<void> {
    let worker = hire()
    while (next < from + count && !signal.aborted) {
      const order: Order = { seed: next++, explains: told.explains() }
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows
      worker.postMessage(order)
      try {
        const [done] = await once(worker, 'message', { signal })
        told.onRun(done)
      } catch (error) {
        await worker.terminate()
        if (signal.aborted) return
        told.onCrash(order.seed, error)
        worker = hire()
      }
    }
    await worker.terminate()
  }

  await Promise.all(Array.from({ length: Math.min(cores, count) }, work))
}

function hire(): Worker {
  return new Worker(new URL('many-worker.ts', import.meta.url))
}
