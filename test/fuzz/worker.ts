import { inspect } from 'node:util'
import { parentPort, workerData } from 'node:worker_threads'
import { fuzz } from './fuzz-loop.ts'
import type { Order, Report } from './run.ts'
import { shrink } from './shrink.ts'
import { targets } from './targets.ts'

// One target in a thread of its own: one that hangs, or takes all memory, ends the thread and not who watches it.
const { name, seed, seconds, inputs, shared } = workerData as Order
const head = new Int32Array(shared, 0, 2)
const place = new Uint8Array(shared, head.byteLength)
const until = performance.now() + seconds * 1_000
let current = new Uint8Array()

const target = await targets[name]?.()
if (target === undefined) throw new TypeError(`expected a target, got ${name}`)
const started = performance.now()
try {
  const tally = await fuzz(target, {
    seed,
    goesOn: (fed) => (inputs === undefined ? performance.now() < until : fed < inputs),
    onInput(input) {
      current = Uint8Array.from(input)
      place.set(input.subarray(0, place.length))
      head[1] = Math.min(input.length, place.length)
      Atomics.add(head, 0, 1)
    },
  })
  const seconds = (performance.now() - started) / 1_000
  target.checkReach?.()
  await target.close?.()
  report({ ...tally, seconds })
} catch (error) {
  report({ error: inspect(error), input: await shrink(target, current) })
}

function report(what: Report): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows
  parentPort?.postMessage(what)
}
