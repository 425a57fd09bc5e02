import { configJsonSchema } from '../config.ts'

/** Prints the JSON Schema of the config. */
export async function schema(): Promise<number> {
  process.stdout.write(`${JSON.stringify(configJsonSchema(), undefined, 2)}\n`)
  return 0
}
