import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Host } from '../namespaces.ts'

// Namespaces have networks of their own: only who is there can ask.
const SCRIPT = `
  const answers = process.argv.slice(1).map(async (url) => {
    const response = await fetch(url)
    return [url, { status: response.status, body: await response.text() }]
  })
  console.log(JSON.stringify(Object.fromEntries(await Promise.all(answers))))`

export interface Answer {
  readonly status: number
  readonly body: string
}

/** GETs all of these from a host. Rejects when one gives no answer. */
export async function getFrom({ enter }: Host, urls: readonly string[]): Promise<Record<string, Answer>> {
  const [program = '', ...args] = [...enter, process.execPath, '--input-type=module', '--eval', SCRIPT, '--', ...urls]
  const { stdout } = await promisify(execFile)(program, args, { maxBuffer: 64 * 1024 * 1024 })
  return JSON.parse(stdout)
}
