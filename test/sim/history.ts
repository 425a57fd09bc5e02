import { hash32 } from '../../core/hash.ts'

/** What happened in a run, in order: the last lines of it, and a hash of all. */
export interface History {
  note(line: string): void
  /** Of everything noted so far, as 16 hexadecimal digits: equal for equal runs, in any process. */
  hash(): string
  /** How many lines were noted. */
  length(): number
  /** The last lines, at most `count`. */
  tail(count: number): readonly string[]
}

const KEPT = 2_000

/** Makes an empty history; `now` gives the instant that stands before each line. */
export function createHistory(now: () => number): History {
  const kept: string[] = []
  let [high, low] = [0x811c9dc5, 0x9e3779b9]
  let count = 0
  return {
    note(text) {
      const line = `${clockText(now())} ${text}`
      high = hash32(line, high)
      low = hash32(line, low)
      count++
      kept.push(line)
      if (kept.length > 2 * KEPT) kept.splice(0, KEPT)
    },
    hash: () => [high, low].map((half) => half.toString(16).padStart(8, '0')).join(''),
    length: () => count,
    tail: (wanted) => kept.slice(-wanted),
  }
}

/** An instant of a run as hours:minutes:seconds.milliseconds. */
export function clockText(ms: number): string {
  const two = (value: number) => String(Math.floor(value)).padStart(2, '0')
  const thousandths = String(Math.floor(ms % 1_000)).padStart(3, '0')
  return `${two(ms / 3_600_000)}:${two((ms / 60_000) % 60)}:${two((ms / 1_000) % 60)}.${thousandths}`
}
