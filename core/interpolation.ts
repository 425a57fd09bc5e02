import { type ConfigPath, configError } from './config-error.ts'

/** Where a config was read, and what its `${NAME}` stand for. */
export interface ConfigOrigin {
  readonly file: string
  /** What is no text counts as not set: edge hosts keep other things beside their variables. */
  readonly env: Readonly<Record<string, unknown>>
}

/**
 * `value` with `${NAME}` replaced in every text it holds, keys excepted. Throws `config` for a variable that is not set,
 * and for one that leaves nothing of its text: an empty cookie or token must not pass for one.
 */
export function interpolate(value: unknown, origin: ConfigOrigin, path: ConfigPath = []): unknown {
  // A YAML alias can stand inside what it names; no setting lies this deep.
  if (path.length > 32) throw configError(origin.file, path.slice(0, 3), 'expected a value, got one that holds itself')
  if (typeof value === 'string') return interpolateText(value, origin, path)
  if (Array.isArray(value)) return value.map((entry, index) => interpolate(entry, origin, [...path, index]))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, entry]) => [key, interpolate(entry, origin, [...path, key])]),
  )
}

function interpolateText(text: string, { file, env }: ConfigOrigin, path: ConfigPath): string {
  const replaced = text.replaceAll(/\$\{([^}]*)\}/g, (reference, name: string) => {
    if (!/^[A-Za-z_]\w*$/.test(name)) {
      throw configError(file, path, `expected the name of an environment variable, got ${reference}`)
    }
    const found = env[name]
    if (typeof found !== 'string') {
      throw configError(file, path, `expected the environment variable ${name}, got nothing: it is not set`)
    }
    return found
  })
  if (replaced === '' && text !== '') {
    throw configError(file, path, `expected a value in ${text}, got nothing: it is set, and empty`)
  }
  return replaced
}
