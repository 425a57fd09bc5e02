import { run } from 'node:test'
import type { Outcome } from './node-test.ts'

/** How a test of a file ended. */
export interface FileOutcome extends Outcome {
  readonly file: string | undefined
}

/** How the tests of the files end under node:test itself: what every runtime must come to as well. */
export async function runUnderNode(files: readonly string[]): Promise<readonly FileOutcome[]> {
  const outcomes: FileOutcome[] = []
  // The names from the outermost suite to the test that runs, of each file: they are told in order.
  const paths = new Map<string | undefined, string[]>()
  for await (const { type, data } of run({ files: [...files], concurrency: true })) {
    if (type === 'test:start') paths.set(data.file, pathTo(data))
    if ((type !== 'test:pass' && type !== 'test:fail') || data.details.type === 'suite') continue
    const outcome = { file: data.file, name: pathTo(data).join(' > ') }
    outcomes.push(
      type === 'test:pass' ? outcome : { ...outcome, error: String(data.details.error.cause ?? data.details.error) },
    )
  }
  return outcomes

  function pathTo({ file, nesting, name }: { file?: string; nesting: number; name: string }): string[] {
    return [...(paths.get(file) ?? []).slice(0, nesting), name]
  }
}
