import { run } from 'node:test'
import type { Outcome } from './node-test.ts'

/** How the tests of the files end under node:test itself: what every runtime must come to as well. */
export async function runUnderNode(files: readonly string[]): Promise<readonly Outcome[]> {
  const outcomes: Outcome[] = []
  // Of each file, the names from the outermost suite to what began last: a suite begins before its tests.
  const paths = new Map<string | undefined, string[]>()
  for await (const { type, data } of run({ files: [...files], concurrency: true })) {
    if (type === 'test:start') paths.set(data.file, pathTo(data))
    if ((type !== 'test:pass' && type !== 'test:fail') || data.details.type === 'suite') continue
    const name = pathTo(data).join(' > ')
    outcomes.push(
      type === 'test:pass' ? { name } : { name, error: String(data.details.error.cause ?? data.details.error) },
    )
  }
  return outcomes

  function pathTo({ file, nesting, name }: { file?: string; nesting: number; name: string }): string[] {
    return [...(paths.get(file) ?? []).slice(0, nesting), name]
  }
}
