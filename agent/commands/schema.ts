import { configJsonSchema } from '../config.ts'
import { printJson } from './print.ts'

/** Prints the JSON Schema of the config. */
export async function schema(): Promise<number> {
  printJson(configJsonSchema())
  return 0
}
