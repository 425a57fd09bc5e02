import * as z from 'zod/mini'
import {
  type ConfigPath,
  configError,
  describeGot,
  expectation,
  explainIssues,
  type UnknownName,
  unknownName,
} from './config-error.ts'
import { intervalSchema } from './duration.ts'
import { type ConfigOrigin, interpolate } from './interpolation.ts'
import { memberSchema } from './member.ts'
import { defaultPolicy, type Policy, policySchema } from './policy.ts'
import { name, node, port, text } from './setting.ts'
import { dnsOptionsSchema } from './sources/dns.ts'
import { registryOptionsSchema } from './sources/registry.ts'

/** How much is logged, the most first. */
export const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const

/** What a function reads of the config, after parsing: durations in ms, defaults filled in, every source with its id. */
export interface ServedConfig {
  topologies: Record<string, TopologyConfig>
  /** Absent: nobody said who may call; hosts then refuse or serve loopback only. */
  auth?: 'none' | AuthEntry[] | undefined
  log: { level: (typeof LOG_LEVELS)[number] }
}

export interface TopologyConfig {
  /** 0 = never: asked only on demand. */
  intervalMs: number
  sources: SourceConfig[]
  policy: Policy
}

/** One configured source: `options` are those of its kind, validated. */
export interface SourceConfig {
  id: string
  kind: string
  options: Record<string, unknown>
  /** Where the config names it: of a source that is a file, which lies beside the config and has options of its own. */
  where?: { readonly file: string; readonly path: ConfigPath }
}

export type AuthEntry = z.infer<typeof authEntrySchema>
export type StaticOptions = z.infer<typeof staticOptionsSchema>

const member = z.strictObject({
  ...memberSchema.shape,
  node,
  status: z._default(memberSchema.shape.status, 'up'),
  address: z.optional(z.strictObject({ host: text, port })),
})

/** Options of the `static` source. */
export const staticOptionsSchema = z.strictObject({ name, nodes: z.array(z.union([node, member])) })
const noneOptionsSchema = z.nullable(z.strictObject({ name }))

/** The sources that any host can ask. */
export const servedSources = {
  static: staticOptionsSchema,
  dns: dnsOptionsSchema,
  registry: registryOptionsSchema,
  none: noneOptionsSchema,
}

const authEntrySchema = z.strictObject({
  name: text,
  sha256: z
    .string()
    .check(z.regex(/^[0-9a-f]{64}$/, { error: 'expected 64 hexadecimal digits: rollcall token prints them' })),
  topologies: z._default(z.union([z.array(text), z.literal('*')]), '*'),
  verbs: z._default(z.array(z.enum(['read', 'plan', 'register'])), ['read', 'plan']),
  nodes: z._default(text, '*'),
})

const someTopology = 'expected at least one topology: a name, and under it its sources'
const oneKind = { error: 'expected exactly one kind of source in an entry of the list' }

/** The keys that functions and agents both read, over the given kinds of source; `others` are entries of a form of their own. */
export function servedShape(
  sources: Readonly<Record<string, z.ZodMiniType>>,
  unknown: UnknownName,
  ...others: z.ZodMiniType<Record<string, unknown>>[]
) {
  const sourceEntrySchema = z.partial(
    z.strictObject(sources, {
      error: (issue) =>
        issue.code === 'unrecognized_keys'
          ? unknown('source', issue.keys[0] ?? '', Object.keys(sources))
          : 'expected a kind of source and its options',
    }),
  )
  const sourceSchema = z.union([z.literal('none'), sourceEntrySchema.check(z.refine(hasOneKey, oneKind)), ...others])
  const topologySchema = z.strictObject({
    /** How often a source is asked: a new node is found within 5 s, and a mesh of 100 asks 20 times a second. */
    interval: z._default(intervalSchema, 5_000),
    sources: z.array(sourceSchema),
    policy: z._default(policySchema, { ...defaultPolicy }),
  })
  return {
    topologies: z
      .record(text, topologySchema, {
        error: ({ code }) => (code === 'invalid_key' ? 'expected a name for the topology' : someTopology),
      })
      .check(z.refine((topologies) => Object.keys(topologies).length > 0, someTopology)),
    auth: z.optional(z.union([z.literal('none'), z.array(authEntrySchema)])),
    log: z._default(z.strictObject({ level: z._default(z.enum(LOG_LEVELS), 'info') }), { level: 'info' }),
  }
}

// One config may be for both: what only an agent reads is not looked at here.
const unread = z.optional(z.unknown())

/**
 * Validates what a function reads of a config, where its host can ask `sources`. Throws `config` as `parseConfig` does, which also
 * reads what is for agents.
 */
export function parseServedConfig(
  raw: unknown,
  origin: ConfigOrigin,
  sources: Readonly<Record<string, z.ZodMiniType>> = servedSources,
): ServedConfig {
  const shape = servedShape(sources, unknownName)
  const schema = z.strictObject({ ...shape, node: unread, distribution: unread, agent: unread })
  const { topologies, auth, log } = validate(raw, { ...origin, schema, unknown: unknownName })
  return { topologies: topologyConfigs(topologies, origin.file), auth, log }
}

/** What `schema` makes of `raw`, its `${NAME}` replaced. Throws `config` naming the file, the path in it and what was expected. */
export function validate<Parsed>(
  raw: unknown,
  { file, env, schema, unknown }: ConfigOrigin & { schema: z.ZodMiniType<Parsed>; unknown: UnknownName },
): Parsed {
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) {
    throw configError(file, [], `expected a mapping with the key topologies, ${describeGot(raw, [])}`)
  }
  const parsed = z.safeParse(schema, interpolate(raw, { file, env }), { error: (issue) => expectation(issue, unknown) })
  if (parsed.success) return parsed.data
  throw explainIssues(file, parsed.error.issues, raw)
}

/** The topologies with their sources named. Throws `config` where two of one topology have one name. */
export function topologyConfigs(
  topologies: z.infer<ReturnType<typeof servedShape>['topologies']>,
  file: string,
): Record<string, TopologyConfig> {
  return Object.fromEntries(
    Object.entries(topologies).map(([topology, { interval, sources, policy }]) => [
      topology,
      { intervalMs: interval, sources: sourceConfigs(sources, { file, topology }), policy },
    ]),
  )
}

function sourceConfigs(
  entries: readonly ('none' | Record<string, unknown>)[],
  { file, topology }: { file: string; topology: string },
): SourceConfig[] {
  const sources: SourceConfig[] = []
  for (const [index, entry] of entries.entries()) {
    const source = sourceConfig(entry)
    const { id, kind } = source
    if (kind === 'none') continue
    const wrong = (sentence: string) => configError(file, ['topologies', topology, 'sources', index, kind], sentence)
    if (kind === 'registry' && sources.some((other) => other.kind === kind)) {
      throw wrong('expected one registry in a topology, got a second: whoever registers could not say in which')
    }
    if (sources.some((other) => other.id === id)) {
      throw wrong(`expected a name of its own, got a second source ${id}: add name: …`)
    }
    sources.push(source)
  }
  return sources
}

function sourceConfig(entry: 'none' | Record<string, unknown>): SourceConfig {
  const [[kind, value] = ['none', null]] = entry === 'none' ? [] : Object.entries(entry)
  const { name, ...options } = (value ?? {}) as Record<string, unknown> & { name?: string }
  return { id: name ?? kind, kind, options }
}

/** Whether it is a choice of one: `{ beam: … }`. */
export function hasOneKey(value: object): boolean {
  return Object.keys(value).length === 1
}
