import type * as z from 'zod/mini'
import { RollcallError } from './error.ts'
import { excerpt, quoteName } from './excerpt.ts'

/** Where in the file: keys and list positions. */
export type ConfigPath = readonly PropertyKey[]

const KINDS: Record<string, string> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  object: 'a mapping',
  record: 'a mapping',
  array: 'a list',
}
// What a maximum is one of, where it is not of a number.
const COUNTED: Record<string, string> = { string: ' characters', array: ' entries' }
// Their values are named nowhere: an error ends in logs that more people read than the config.
const SECRET = /cookie|token|secret|password/i

/** The error of one mistake: `[config] <file>: <path>: <sentence>`. */
export function configError(file: string, path: ConfigPath, sentence: string): RollcallError {
  return new RollcallError('config', `[config] ${file}: ${sentenceAt(path, sentence)}`)
}

/** `<path>: <sentence>`, or the sentence alone for the whole. */
export function sentenceAt(path: ConfigPath, sentence: string): string {
  return path.length === 0 ? sentence : `${formatPath(path)}: ${sentence}`
}

/** `got …` for what stands at `path` of `raw`, as it was before `${NAME}` was replaced, so that no secret is repeated. */
export function describeGot(raw: unknown, path: ConfigPath): string {
  const value = path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown> | null | undefined)?.[key], raw)
  const isOne = value !== undefined && typeof value !== 'object'
  // A file that is only text may be a cookie's own file.
  const isSecret = isOne && (path.length === 0 || path.some((key) => SECRET.test(String(key))))
  return isSecret ? `got ${KINDS[typeof value]} that is not shown here` : `got ${excerpt(value)}`
}

/** The error of the mistake that is most likely the cause: an unknown key before the missing one that it stands for. */
export function explainIssues(file: string, issues: readonly z.core.$ZodIssue[], raw: unknown): RollcallError {
  const inner = issues.flatMap(innermost)
  const mistake = inner.find(({ code }) => code === 'unrecognized_keys') ?? inner[0]
  const { path = [], message = '' } = mistake ?? {}
  return mistake?.code === 'unrecognized_keys'
    ? configError(file, [...path, ...mistake.keys.slice(0, 1)], message)
    : configError(file, path, `${message}, ${describeGot(raw, path)}`)
}

/** An error map for zod: what a schema without words of its own expected. All sentences but those of `unknown` begin with it. */
export function expectation(issue: z.core.$ZodRawIssue, unknown: UnknownName): string {
  switch (issue.code) {
    case 'invalid_type':
      return `expected ${KINDS[issue.expected] ?? issue.expected}`
    case 'invalid_value':
      return `expected ${alternatives(issue.values.map(String))}`
    case 'invalid_union':
      return `expected ${alternatives(issue.errors.flatMap(([first]) => first?.message.replace(/^expected /, '') ?? []))}`
    case 'too_small':
      if (issue.origin === 'string') return 'expected some text'
      return issue.origin === 'array' ? 'expected at least one entry' : `expected at least ${issue.minimum}`
    case 'too_big':
      return `expected at most ${issue.maximum}${COUNTED[issue.origin] ?? ''}`
    case 'invalid_key':
      return `${issue.issues[0]?.message ?? 'expected something else'} in the key`
    case 'unrecognized_keys':
      return unknown('key', issue.keys[0] ?? '', knownKeys(issue.inst))
    default:
      return 'expected something else'
  }
}

/** Says that a key, or what `word` calls it, is unknown, and which are known. */
export type UnknownName = (word: string, name: string, known: readonly string[]) => string

/** `unknown key graze; known: disconnect, grace, …`. */
export function unknownName(word: string, name: string, known: readonly string[]): string {
  return `unknown ${word} ${quoteName(name)}; known: ${known.join(', ')}`
}

/** What a union says about the value's inside, where one of its branches took the value itself. */
function innermost(issue: z.core.$ZodIssue): z.core.$ZodIssue[] {
  if (issue.code !== 'invalid_union') return [issue]
  const branch = issue.errors.find(([first]) => first !== undefined && tookTheKind(first))
  return branch?.flatMap((inside) => innermost({ ...inside, path: [...issue.path, ...inside.path] })) ?? [issue]
}

function tookTheKind({ code, path }: z.core.$ZodIssue): boolean {
  return path.length > 0 || (code !== 'invalid_type' && code !== 'invalid_value')
}

function knownKeys(schema: unknown): string[] {
  const shape = (schema as z.core.$ZodObject | undefined)?._zod.def.shape
  return Object.keys(shape ?? {})
}

function formatPath(path: ConfigPath): string {
  return path
    .map((key) => {
      if (typeof key === 'number') return `[${key}]`
      const name = quoteName(String(key))
      return name.startsWith('"') ? `[${name}]` : `.${name}`
    })
    .join('')
    .replace(/^\./, '')
}

function alternatives(words: readonly string[]): string {
  const unique = [...new Set(words)]
  return unique.length < 2 ? unique.join('') : `${unique.slice(0, -1).join(', ')} or ${unique.at(-1)}`
}
