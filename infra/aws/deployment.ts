import { parseYaml } from '../../agent/config.ts'
import { awsSources } from '../../core/aws-sources.ts'
import { RollcallError } from '../../core/error.ts'
import { parseServedConfig, servedSources } from '../../core/served-config.ts'
import { OWN_TABLE } from './table.ts'

/** What of a rollcall.yaml goes to Lambda. */
export interface Deployment {
  /** For `ROLLCALL_CONFIG`: what a function reads, as JSON, each `${NAME}` as it stands in the file. */
  readonly config: string
  /** The variables that it names and Lambda does not set itself. */
  readonly variables: readonly string[]
  readonly sources: readonly DeployedSource[]
  /** Where the registries keep their leases, each once. */
  readonly tables: readonly string[]
  /** The longest that a source may take to answer. */
  readonly longestAskMs: number
  /** Whether anybody may call it. */
  readonly isOpen: boolean
}

/** One source as the file has it. */
export interface DeployedSource {
  readonly kind: string
  readonly options: Readonly<Record<string, unknown>>
}

export interface DeploymentOrigin {
  /** For messages. */
  readonly file: string
  /** What the `${NAME}` stand for here: the config is checked with it, and nothing of it is kept. */
  readonly env: Readonly<Record<string, string | undefined>>
}

type Raw = Record<string, unknown>
type RawSource = 'none' | Record<string, Readonly<Record<string, unknown>> | null>

// Lambda takes 4 KB of environment, names and values together; some is left for what the stack adds.
// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
const MAX_BYTES = 3_600
/** Set by Lambda itself or by the stack. */
const OWN_VARIABLE = /^(AWS_|LAMBDA_|ROLLCALL_TABLE$)/
// Here they may be unset.
const STAND_INS = { AWS_REGION: 'us-east-1', ROLLCALL_TABLE: 'rollcall' }

/**
 * Reads a rollcall.yaml (or JSON) for Lambda and leaves out what only an agent reads, its cookie too. Throws `config` for what the
 * function would refuse once it is deployed, for a config without `auth`, and for one that is too large for Lambda.
 */
export function readDeployment(text: string, { file, env }: DeploymentOrigin): Deployment {
  const { node: _node, distribution: _distribution, agent: _agent, ...raw } = mappingOf(text, file)
  const kinds = { ...servedSources, ...awsSources }
  const parsed = parseServedConfig(raw, { file, env: { ...STAND_INS, ...env } }, kinds)
  if (parsed.auth === undefined) {
    throw refused(
      file,
      'auth',
      'none: npm run rollcall -- token prints an entry for it, and auth: none lets anybody call',
    )
  }
  const config = JSON.stringify(raw)
  const bytes = Buffer.byteLength(config)
  if (bytes > MAX_BYTES) {
    throw refused(file, `at most ${MAX_BYTES} bytes as JSON, which is what Lambda has room for`, `${bytes}`)
  }
  const asked = Object.values(parsed.topologies).flatMap((topology) => topology.sources)
  const sources = sourcesOf(raw)
  return {
    config,
    variables: variablesOf(config),
    sources,
    tables: tablesOf(sources, file),
    longestAskMs: Math.max(0, ...asked.map(({ options: { timeout } }) => (typeof timeout === 'number' ? timeout : 0))),
    isOpen: parsed.auth === 'none',
  }
}

function mappingOf(text: string, file: string): Raw {
  const raw = parseYaml(text, file)
  if (typeof raw === 'object' && raw !== null && !Array.isArray(raw)) return raw as Raw
  throw refused(file, 'a mapping with the key topologies', 'something else')
}

function variablesOf(config: string): string[] {
  const names = [...config.matchAll(/\$\{(\w+)\}/g)].map(([, name = '']) => name)
  return [...new Set(names)].filter((name) => !OWN_VARIABLE.test(name)).toSorted()
}

// As they stand in the file: what a policy says goes into the template, and a value of the environment may not.
function sourcesOf({ topologies }: Raw): DeployedSource[] {
  return Object.values(topologies as Record<string, { sources: readonly RawSource[] }>)
    .flatMap(({ sources }) => sources)
    .flatMap((source) => (source === 'none' ? [] : Object.entries(source)))
    .map(([kind, options]) => ({ kind, options: options ?? {} }))
}

function tablesOf(sources: readonly DeployedSource[], file: string): string[] {
  const tables = sources.flatMap(({ kind, options: { store, table, region, endpoint } }) => {
    if (kind !== 'registry') return []
    if (store !== 'dynamodb') {
      throw refused(
        file,
        `store: dynamodb and table: "${OWN_TABLE}" of a registry on Lambda`,
        `store: ${typeof store === 'string' ? store : 'memory'}`,
      )
    }
    // The table is made where the function is.
    if (region !== undefined || endpoint !== undefined)
      throw refused(file, 'a registry without region and endpoint', 'one')
    const name = String(table)
    if (name !== OWN_TABLE && name.includes('${')) throw refused(file, `the name of a table, or ${OWN_TABLE}`, name)
    return [name]
  })
  return [...new Set(tables)]
}

function refused(file: string, expected: string, got: string): RollcallError {
  return new RollcallError('config', `[config] ${file}: expected ${expected}, got ${got}`)
}
