/** One line of the table: what was measured, the floor measured beside it, and what was aimed at. */
export interface Figure {
  readonly name: string
  /** Both with their unit. */
  readonly subject: string
  readonly floor: string
  /** The ratio of the two, or their difference where the unit says so. */
  readonly value: number
  readonly unit: 'x' | 'bytes' | 'MB'
  /** None where the figure is for orientation only. */
  readonly aim?: { readonly atMost: number } | { readonly atLeast: number }
}

/** A line that could not be measured here, and why. */
export interface Skipped {
  readonly name: string
  readonly skipped: string
}

/** Whether the figure is on the right side of its aim; undefined where it has none. */
export function isMet({ value, aim }: Figure): boolean | undefined {
  if (aim === undefined) return undefined
  return 'atMost' in aim ? value <= aim.atMost : value >= aim.atLeast
}

/** The middle of the values, the upper one of two. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[sorted.length >> 1] ?? Number.NaN
}

/** How long the work took, in ms. No garbage is collected before: a forced collection throws away what the compiler learnt. */
export async function elapsedMs(work: () => unknown): Promise<number> {
  const start = process.hrtime.bigint()
  await work()
  return Number(process.hrtime.bigint() - start) / 1e6
}

/**
 * Medians in ms of `rounds` runs of each, in turns: whatever slows the machine for a while slows both. The runs before
 * the first counted ones warm the compiler up.
 */
export async function compareMs(
  subject: (round: number) => unknown,
  floor: (round: number) => unknown,
  { rounds, warmup }: { rounds: number; warmup: number },
): Promise<{ subjectMs: number; floorMs: number }> {
  const subjects: number[] = []
  const floors: number[] = []
  for (let round = 0; round < warmup + rounds; round++) {
    const floorMs = await elapsedMs(() => floor(round))
    const subjectMs = await elapsedMs(() => subject(round))
    if (round < warmup) continue
    floors.push(floorMs)
    subjects.push(subjectMs)
  }
  return { subjectMs: median(subjects), floorMs: median(floors) }
}

/** A duration for people. */
export function formatMs(ms: number): string {
  if (ms >= 999.5) return `${(ms / 1000).toPrecision(3)} s`
  return ms < 0.1 ? `${(ms * 1000).toPrecision(3)} us` : `${ms.toPrecision(3)} ms`
}
