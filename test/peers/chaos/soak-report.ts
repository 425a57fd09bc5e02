import type { Census } from './census.ts'
import { BOUND_MS, type Watch } from './watch.ts'

/** What happened so far. */
export interface Story {
  readonly faults: Map<string, number>
  readonly peaks: Map<string, number>
  readonly died: Set<string>
  /** What went wrong with the soak itself. */
  readonly broken: unknown[]
}

/** What a process is, without where. */
export const kindOf = (label: string) => label.split(' ', 1)[0] ?? label
const megabytes = (bytes: number) => `${Math.round(bytes / 1e6)} MB`
const total = (counts: ReadonlyMap<string, number>) => [...counts.values()].reduce((sum, count) => sum + count, 0)

/** One line more. */
export function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

/** What happened so far, in one line. */
export function report(startedAt: number, { watch, story }: { watch: Watch; story: Story }): void {
  const minutes = Math.round((performance.now() - startedAt) / 60_000)
  const longest = Math.max(0, ...watch.longestMs.values())
  const figures = [
    `${total(story.faults)} faults`,
    `${total(watch.explained)} ends of links lost by them`,
    `${watch.wrong.length} wrongly`,
    `${watch.late.length} back late`,
    `longest ${Math.round(longest)} ms`,
    [...story.peaks].map(([kind, bytes]) => `${kind} ${megabytes(bytes)}`).join(', '),
  ]
  print(`${minutes} min: ${figures.join('; ')}`)
}

/** All that happened, as tables. */
export async function summarise({
  watch,
  census,
  story,
}: {
  watch: Watch
  census: Census
  story: Story
}): Promise<void> {
  const kinds = new Set([...story.faults.keys(), ...watch.explained.keys(), ...watch.longestMs.keys()])
  print(`\n${'fault'.padEnd(26)}${'times'.padStart(6)}${'ends lost'.padStart(11)}${'longest until whole'.padStart(22)}`)
  for (const kind of [...kinds].sort()) {
    const counts = [story.faults.get(kind) ?? 0, watch.explained.get(kind) ?? 0]
    const longest = `${Math.round(watch.longestMs.get(kind) ?? 0)} ms`
    print(`${kind.padEnd(26)}${String(counts[0]).padStart(6)}${String(counts[1]).padStart(11)}${longest.padStart(22)}`)
  }
  print(
    `\n${'process'.padEnd(26)}${'handles at first'.padStart(17)}${'at the end'.padStart(12)}${'memory at first'.padStart(17)}${'at the end'.padStart(12)}${'peak'.padStart(10)}`,
  )
  const end = await census.read()
  for (const kind of new Set([...census.beginning.keys()].map(kindOf))) {
    const of = (all: Census['beginning']) => [...all].filter(([label]) => kindOf(label) === kind).map(([, has]) => has)
    const sum = (all: Census['beginning'], key: 'handles' | 'memoryBytes') =>
      of(all).reduce((all, has) => all + has[key], 0)
    const handles = [sum(census.beginning, 'handles'), sum(end, 'handles')].map(String)
    const memory = [
      sum(census.beginning, 'memoryBytes') / of(census.beginning).length,
      sum(end, 'memoryBytes') / of(end).length,
    ].map(megabytes)
    print(
      `${kind.padEnd(26)}${handles[0]?.padStart(17)}${handles[1]?.padStart(12)}${memory[0]?.padStart(17)}${memory[1]?.padStart(12)}${megabytes(story.peaks.get(kind) ?? 0).padStart(10)}`,
    )
  }
  print(`\nlinks lost wrongly: ${watch.wrong.length}`)
  for (const { at, by, of, why } of watch.wrong) print(`  ${new Date(at).toISOString()} ${by} lost ${of}: ${why}`)
  print(`links back later than ${BOUND_MS} ms: ${watch.late.length}`)
  for (const line of watch.late) print(`  ${line}`)
  print(`processes that ended by themselves: ${story.died.size === 0 ? 'none' : [...story.died].join(', ')}`)
}
