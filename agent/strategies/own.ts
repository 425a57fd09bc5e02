import { access } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import * as z from 'zod/mini'
import { type SourceConfig, suggestName } from '../../core/config.ts'
import { configError, expectation, explainIssues } from '../../core/config-error.ts'
import { RollcallError } from '../../core/error.ts'
import { excerpt } from '../../core/excerpt.ts'
import type { Observation } from '../../core/member.ts'
import { readEntries } from '../../core/sources/entries.ts'
import type { Source, SourceContext } from '../../functions/resolvers/source.ts'
import { requireObservation } from './poll.ts'

/**
 * What a file of the user's own exports, as default or as `source`: this, or a function that gives it (called once for each
 * source in a config, so that each has a memory of its own).
 */
export interface OwnSource<Options = Record<string, unknown>> {
  /** Gives the options, or throws what is wrong with them. A zod schema is one; without it every option is taken as it stands. */
  readonly options?: { parse(given: unknown): Options }
  /** Asks once. It throws when it could not: an empty list means that there is nobody. A `code` on the error is kept. */
  look?(options: Options, context: SourceContext): Promise<Observation>
  /** A stream of observations; it ends only with `context.signal`. */
  watch?(options: Options, context: SourceContext): AsyncIterable<Observation>
}

// Codes are made for programs: `api_down`, and not what the system calls it.
const CODE = /^[a-z][a-z0-9_]*$/
const KINDS = { look: 'a function that asks once', watch: 'a function that gives a stream' }

/** Loads the source that a config names by its file, beside the config. Throws `config` where there is none, or where it refuses its options. */
export async function loadOwnSource(config: SourceConfig): Promise<Source<unknown>> {
  const { kind, options: given, where = { file: 'rollcall.yaml', path: ['source', config.id] } } = config
  const wrong = (sentence: string) => configError(where.file, where.path, sentence)
  const own = requireSource(await importSource(resolve(dirname(where.file), kind), wrong), wrong)
  const options = parseOptions(own, given, where)
  return {
    options: z.unknown(),
    ...(own.look !== undefined && {
      async look(_given, context) {
        try {
          return checked(await own.look?.(options, context), context.source)
        } catch (error) {
          throw explained(error, context)
        }
      },
    }),
    ...(own.watch !== undefined && {
      async *watch(_given, context) {
        try {
          for await (const given of own.watch?.(options, context) ?? []) yield checked(given, context.source)
        } catch (error) {
          throw explained(error, context)
        }
      },
    }),
  }
}

type Wrong = (sentence: string) => RollcallError

async function importSource(file: string, wrong: Wrong): Promise<unknown> {
  let loaded: Record<string, unknown>
  try {
    await access(file)
  } catch (cause) {
    throw wrong(`expected a file that can be read at ${file}, got ${(cause as NodeJS.ErrnoException).code}`)
  }
  try {
    loaded = (await import(pathToFileURL(file).href)) as Record<string, unknown>
  } catch (cause) {
    throw wrong(`expected a module that loads, got ${reasonOf(cause)}`)
  }
  const exported = loaded.default ?? loaded.source
  if (exported === undefined) {
    throw wrong(`expected a default export or one named source, got ${Object.keys(loaded).join(', ') || 'no exports'}`)
  }
  if (typeof exported !== 'function') return exported
  try {
    return await (exported as () => unknown)()
  } catch (cause) {
    throw wrong(`expected its function to give a source, got ${reasonOf(cause)}`)
  }
}

function requireSource(exported: unknown, wrong: Wrong): OwnSource<unknown> {
  const source = exported as Partial<Record<keyof OwnSource, unknown>> | null
  if (typeof source !== 'object' || source === null || (source.look ?? source.watch) === undefined) {
    throw wrong(`expected a source with look or watch, got ${excerpt(exported)}`)
  }
  for (const key of ['look', 'watch'] as const) {
    const method = source[key]
    if (method !== undefined && typeof method !== 'function') {
      throw wrong(`expected ${key} to be ${KINDS[key]}, got ${excerpt(method)}`)
    }
  }
  const { parse } = (source.options ?? { parse: () => undefined }) as { parse?: unknown }
  if (typeof parse !== 'function') throw wrong(`expected options with a function parse, got ${excerpt(source.options)}`)
  return source as OwnSource<unknown>
}

function parseOptions(
  { options: schema }: OwnSource<unknown>,
  given: Record<string, unknown>,
  { file, path }: NonNullable<SourceConfig['where']>,
): unknown {
  if (schema === undefined) return given
  if (isZod(schema)) {
    // In the words of all other options: zod/mini has none of its own.
    const parsed = z.safeParse(schema, given, { error: (issue) => expectation(issue, suggestName) })
    if (parsed.success) return parsed.data
    const issues = parsed.error.issues.map((issue) => ({ ...issue, path: [...path, ...issue.path] }))
    const raw = path.reduceRight<unknown>((inside, key) => ({ [key]: inside }), given)
    throw explainIssues(file, issues, raw)
  }
  try {
    return schema.parse(given)
  } catch (cause) {
    throw configError(file, path, `expected options that it takes, got ${reasonOf(cause)}`)
  }
}

/** zod 4 in either of its forms. */
function isZod(schema: object): schema is z.ZodMiniType {
  return '_zod' in schema
}

/** What it gave, each name once. An entry that is no member is left out, and the answer is then `partial`. */
function checked(given: unknown, source: string): Observation {
  const observation = requireObservation(given, source)
  const { members, flaw } = readEntries(observation.members ?? [])
  if (observation.outcome === 'failed') {
    return observation.members === undefined ? observation : { ...observation, members }
  }
  if (flaw === undefined) return { ...observation, members }
  if (members.length === 0) {
    throw new RollcallError('bad_observation', `[${source}] expected members, got others: ${flaw}`)
  }
  return { source, at: observation.at, outcome: 'partial', members, reason: flaw }
}

/** A throw of somebody's code as an error of ours. Whatever follows the abort is about the abort. */
function explained(error: unknown, { source, signal }: SourceContext): unknown {
  if (error instanceof RollcallError || signal.aborted) return error
  const { code } = (error ?? {}) as { code?: unknown }
  const known = typeof code === 'string' && CODE.test(code) ? code : 'source_threw'
  return new RollcallError(known, `[${source}] expected an answer, got ${reasonOf(error)}`, { cause: error })
}

/** The first line of a message: a reason stands in one sentence. */
function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message || error.name : excerpt(error)
  return message.split('\n', 1)[0]?.slice(0, 200) ?? ''
}
