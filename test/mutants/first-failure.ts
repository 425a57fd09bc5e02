import type { TestEvent } from 'node:test/reporters'

interface Failure {
  name: string
  file?: string
  details: { error: Error & { failureType?: string } }
}

/** A reporter that names the first test that fails and ends the process there: what comes after would only cost time. */
export default async function* firstFailure(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of events) {
    if (event.type !== 'test:fail') continue
    const { name, details } = event.data as Failure
    // Of a suite it is told after that of the test in it.
    if (details.error.failureType === 'subtestsFailed') continue
    yield name
    process.exit(1)
  }
}
