import * as z from 'zod/mini'
import { name } from '../setting.ts'

// A path, and not a bare word: `my-source.ts` may be a kind that somebody misspelt.
const PATH = /^(\.{1,2})?\/.*\.(ts|js|mjs)$/

/** Whether a kind of source is a file of the user's own, beside the config: `./my-source.ts`. */
export function isSourcePath(kind: string): boolean {
  return PATH.test(kind)
}

/** An entry for a source that is a file. Its options are read by the file itself; only `name` is ours. */
export const ownSourceSchema = z
  .record(z.string().check(z.regex(PATH)), z.nullable(z.looseObject({ name })), {
    error: 'expected a kind of source and its options',
  })
  .check(z.refine((entry) => Object.keys(entry).length === 1))
