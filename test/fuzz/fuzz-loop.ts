import { setImmediate as turn } from 'node:timers/promises'
import { random } from '../core/rounds.ts'
import { startCoverage } from './coverage.ts'
import { createMutator } from './mutate.ts'
import { bytesOf, type Target } from './target.ts'

/** What a run of a target came to. */
export interface Tally {
  readonly inputs: number
  /** The seeds, and the inputs that reached a block which none before had reached. */
  readonly corpus: number
  readonly blocks: number
}

export interface LoopOptions {
  readonly seed: number
  /** Whether to go on after so many inputs. */
  readonly goesOn: (inputs: number) => boolean
  /** Called before each input. */
  readonly onInput: (input: Uint8Array) => void
}

// To look at the coverage after each input would cost more than the inputs.
const BATCH = 128

/**
 * Feeds a target with its seeds, and with what mutation makes of them, until it is told to end. What reaches new code is mutated
 * further. Throws what an input that breaks a promise throws.
 */
export async function fuzz(target: Target, { seed, goesOn, onInput }: LoopOptions): Promise<Tally> {
  const { words = [], isJson = false } = target
  const next = random(seed)
  const mutate = createMutator({ random: next, words, isJson })
  const corpus = target.seeds.map(bytesOf)
  const coverage = startCoverage()
  const pick = () => corpus[Math.floor(next() * corpus.length)] ?? Buffer.alloc(0)
  let inputs = 0

  async function feed(batch: readonly Uint8Array[]): Promise<void> {
    for (const input of batch) {
      inputs++
      onInput(input)
      await target.run(input)
      // A target that waits for nothing would be one job without end: no timer fires in it, and what a WeakRef was made for stays.
      await turn()
    }
  }

  /** Keeps those of a batch that reached something new: by halves, for most batches have one at most. */
  async function keepNew(batch: readonly Uint8Array[]): Promise<void> {
    if (batch.length === 1) corpus.push(...batch)
    if (batch.length <= 1) return
    const middle = batch.length >> 1
    for (const half of [batch.slice(0, middle), batch.slice(middle)]) {
      await feed(half)
      if (coverage.isNew()) await keepNew(half)
    }
  }

  await feed(corpus)
  let blocks = coverage.keep()
  while (goesOn(inputs)) {
    const batch = Array.from({ length: BATCH }, () => mutate(pick(), pick()))
    await feed(batch)
    if (!coverage.isNew()) continue
    await keepNew(batch)
    blocks = coverage.keep()
  }
  coverage.close()
  return { inputs, corpus: corpus.length, blocks }
}
