import * as z from 'zod/mini'
import { configSchema } from '../../core/config.ts'
import { printJson } from './print.ts'

/** Prints the JSON Schema of the config. */
export async function schema(): Promise<number> {
  printJson(configJsonSchema())
  return 0
}

/** The JSON Schema (draft 2020-12) of the config file, as it is written: with durations as text, and only required keys required. */
export function configJsonSchema(): object {
  return z.toJSONSchema(configSchema, { io: 'input', target: 'draft-2020-12' })
}
