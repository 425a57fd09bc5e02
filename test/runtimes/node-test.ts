/**
 * Stands in for node:test where the core's tests run without Node: what they use of it, and no more. A name that is not here fails the
 * bundle, anything else that is not done here throws: a test that was quietly left out would count as passed.
 */

/** How one test ended. */
export interface Outcome {
  /** Its suites and its own name, from the outermost. */
  readonly name: string
  /** Absent when it passed. */
  readonly error?: string
}

interface Registered {
  readonly name: string
  readonly body: () => unknown
}

const suites: string[] = []
const registered: Registered[] = []

export function describe(name: string, body: () => unknown): void {
  const names = pathTo(name, body)
  suites.push(name)
  const returned = body()
  suites.pop()
  if (returned instanceof Promise)
    throw new TypeError(`[runtimes] expected the suite ${names} to be synchronous, got a promise`)
}

export function test(name: string, body: () => unknown): void {
  registered.push({ name: pathTo(name, body), body })
}

export { test as it }

/** Runs all tests that were registered, in order. */
export async function runTests(): Promise<readonly Outcome[]> {
  const outcomes: Outcome[] = []
  for (const { name, body } of registered) {
    const error = await failureOf(body)
    outcomes.push(error === undefined ? { name } : { name, error })
  }
  return outcomes
}

function pathTo(name: string, body: unknown): string {
  const path = [...suites, name].join(' > ')
  if (typeof body === 'function' && body.length === 0) return path
  throw new TypeError(
    `[runtimes] expected ${path} to be a name and a function without parameters, got more: test/runtimes/node-test.ts knows no options and no context`,
  )
}

async function failureOf(body: () => unknown): Promise<string | undefined> {
  try {
    await body()
    return undefined
  } catch (error) {
    if (!(error instanceof Error)) return `threw ${String(error)}`
    // Only V8 begins the stack with the message.
    return error.stack?.includes(error.message) ? error.stack : `${error.name}: ${error.message}\n${error.stack}`
  }
}
