import { parentPort } from 'node:worker_threads'
import { runSeed } from './seed-run.ts'

/** One seed to be run, as the main thread orders it. */
export interface Order {
  readonly seed: number
  readonly explains: boolean
}

// An agent aborts signals all the time, each with an error whose stack nobody reads: a sixth of a run.
Error.stackTraceLimit = 0

parentPort?.on('message', (order: Order) => void carryOut(order))

async function carryOut({ seed, explains }: Order): Promise<void> {
  const done = await runSeed(seed, { explains })
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows
  parentPort?.postMessage(done)
}
