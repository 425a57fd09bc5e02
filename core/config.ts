import * as z from 'zod/mini'
import { configError, describeGot, expectation, explainIssues, unknownName } from './config-error.ts'
import { durationSchema, intervalSchema } from './duration.ts'
import { interpolate } from './interpolation.ts'
import { memberSchema, nodeNameSchema } from './member.ts'
import { basenameOf, hostOf, nodeName } from './node.ts'
import { defaultPolicy, type Policy, policySchema } from './policy.ts'
import { dnsOptionsSchema } from './sources/dns.ts'

/** The config after parsing: durations in ms, defaults filled in, every source with its id. */
export interface Config {
  node?: string | undefined
  distribution?: DistributionConfig | undefined
  topologies: Record<string, TopologyConfig>
  agent: { listen?: string | undefined; state?: string | undefined; leaveOnExit: boolean }
  /** Absent: nobody said who may call; hosts then refuse or serve loopback only. */
  auth?: 'none' | AuthEntry[] | undefined
  log: { level: 'debug' | 'info' | 'warn' | 'error' | 'silent' }
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
  kind: SourceKind
  options: Record<string, unknown>
}

export type SourceKind = keyof typeof sourceSchemas
export type AuthEntry = z.infer<typeof authEntrySchema>
export type BeamConfig = z.infer<typeof beamSchema>
export type ExecDistributionConfig = z.infer<typeof execDistributionSchema>
export type DistributionConfig = { beam: BeamConfig } | { exec: ExecDistributionConfig }
export type StaticOptions = z.infer<typeof staticOptionsSchema>
export type FunctionOptions = z.infer<typeof functionOptionsSchema>
export type ExecOptions = z.infer<typeof execOptionsSchema>

const text = z.string().check(z.minLength(1))
const name = z.optional(text)
const command = z.array(text).check(z.minLength(1, { error: 'expected a program and its arguments' }))
// `${PORT}` is text once it is replaced.
const port = z.pipe(
  z.transform((value) => (typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value)),
  z.int().check(z.minimum(1), z.maximum(65535)),
)
const mfa = z.array(text).check(z.minLength(2, { error: 'expected [module, function, ...args]' }))
const node = z.pipe(
  nodeNameSchema,
  z.transform((value) => nodeName(basenameOf(value), hostOf(value))),
)
const member = z.strictObject({
  ...memberSchema.shape,
  node,
  status: z._default(memberSchema.shape.status, 'up'),
  address: z.optional(z.strictObject({ host: text, port })),
})

export const staticOptionsSchema = z.strictObject({ name, nodes: z.array(z.union([node, member])) })
export const functionOptionsSchema = z.strictObject({
  name,
  url: text.check(z.regex(/^https?:\/\//, { error: 'expected an http:// or https:// address' })),
  /** The topology to ask there; the own topology's name by default. */
  topology: z.optional(text),
  token: z.optional(text),
  timeout: z._default(durationSchema, 5_000),
})
export const execOptionsSchema = z.strictObject({ name, command, timeout: z._default(durationSchema, 10_000) })
const noneOptionsSchema = z.nullable(z.strictObject({ name }))

const sourceSchemas = {
  static: staticOptionsSchema,
  dns: dnsOptionsSchema,
  function: functionOptionsSchema,
  exec: execOptionsSchema,
  none: noneOptionsSchema,
}

const oneKind = { error: 'expected exactly one kind of source in an entry of the list' }
const sourceEntrySchema = z.partial(
  z.strictObject(sourceSchemas, {
    error: (issue) =>
      issue.code === 'unrecognized_keys'
        ? unknownName('source', issue.keys[0] ?? '', Object.keys(sourceSchemas))
        : 'expected a kind of source and its options',
  }),
)
const sourceSchema = z.union([z.literal('none'), sourceEntrySchema.check(z.refine(hasOneKey, oneKind))])

const beamSchema = z.strictObject({
  mode: z._default(z.enum(['sidecar']), 'sidecar'),
  cookie: text,
  /** The agent's own node name; `rollcall-<basename>@<host>` by default: one stable name, for every name is an atom for ever. */
  name: z.optional(node),
  epmd: z.optional(z.strictObject({ host: z.optional(text), port: z.optional(port) })),
  /** The node's distribution port, when it runs without epmd. */
  port: z.optional(port),
  tls: z.optional(z.strictObject({ cert: z.optional(text), key: z.optional(text), ca: text })),
  connect: z.optional(mfa),
  disconnect: z.optional(mfa),
  list: z.optional(mfa),
})

const execDistributionSchema = z.strictObject({ connect: command, disconnect: command, list: command })
const distributionSchema = z.pipe(
  z
    .strictObject({ beam: z.optional(beamSchema), exec: z.optional(execDistributionSchema) })
    .check(z.refine(hasOneKey, { error: 'expected either beam or exec' })),
  z.transform((value) => value as DistributionConfig),
)

const authEntrySchema = z.strictObject({
  name: text,
  sha256: z
    .string()
    .check(z.regex(/^[0-9a-f]{64}$/, { error: 'expected 64 hexadecimal digits: rollcall token prints them' })),
  topologies: z._default(z.union([z.array(text), z.literal('*')]), '*'),
  verbs: z._default(z.array(z.enum(['read', 'plan', 'register'])), ['read', 'plan']),
  nodes: z._default(text, '*'),
})

const topologySchema = z.strictObject({
  /** How often a source is asked: a new node is found within 5 s, and a mesh of 100 asks 20 times a second. */
  interval: z._default(intervalSchema, 5_000),
  sources: z.array(sourceSchema),
  policy: z._default(policySchema, { ...defaultPolicy }),
})

const someTopology = 'expected at least one topology: a name, and under it its sources'
const listen = z
  .string()
  .check(z.regex(/^(\[[0-9a-fA-F:.]+\]|[^\s:]+):\d{1,5}$/, { error: 'expected host:port like 127.0.0.1:8788' }))

/** The schema of `rollcall.yaml`: what `rollcall schema` prints. Later work only adds keys. */
export const configSchema = z.strictObject({
  node: z.optional(node),
  distribution: z.optional(distributionSchema),
  topologies: z
    .record(text, topologySchema, {
      error: ({ code }) => (code === 'invalid_key' ? 'expected a name for the topology' : someTopology),
    })
    .check(z.refine((topologies) => Object.keys(topologies).length > 0, someTopology)),
  agent: z.optional(
    z.strictObject({
      listen: z.optional(listen),
      state: z.optional(text),
      leaveOnExit: z._default(z.boolean(), false),
    }),
  ),
  auth: z.optional(z.union([z.literal('none'), z.array(authEntrySchema)])),
  log: z.optional(z.strictObject({ level: z._default(z.enum(['debug', 'info', 'warn', 'error', 'silent']), 'info') })),
})

/** Validates what was read from `file`. `env` resolves `${NAME}`; throws `config` naming the file, the path in it and what was expected. */
export function parseConfig(
  raw: unknown,
  { file, env }: { file: string; env: Record<string, string | undefined> },
): Config {
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) {
    throw configError(file, [], `expected a mapping with the key topologies, ${describeGot(raw, [])}`)
  }
  const parsed = z.safeParse(configSchema, interpolate(raw, { file, env }), { error: expectation })
  if (!parsed.success) {
    const { path, sentence } = explainIssues(parsed.error.issues, raw)
    throw configError(file, path, sentence)
  }
  const { topologies, agent, log, ...rest } = parsed.data
  return {
    ...rest,
    topologies: Object.fromEntries(
      Object.entries(topologies).map(([topology, { interval, sources, policy }]) => [
        topology,
        { intervalMs: interval, sources: sourceConfigs(sources, { file, topology }), policy },
      ]),
    ),
    agent: agent ?? { leaveOnExit: false },
    log: log ?? { level: 'info' },
  }
}

function sourceConfigs(
  entries: readonly z.infer<typeof sourceSchema>[],
  { file, topology }: { file: string; topology: string },
): SourceConfig[] {
  const sources: SourceConfig[] = []
  for (const [index, entry] of entries.entries()) {
    const source = sourceConfig(entry)
    if (source.kind === 'none') continue
    if (sources.some(({ id }) => id === source.id)) {
      throw configError(
        file,
        ['topologies', topology, 'sources', index, source.kind],
        `expected a name of its own, got a second source ${source.id}: add name: …`,
      )
    }
    sources.push(source)
  }
  return sources
}

function sourceConfig(entry: z.infer<typeof sourceSchema>): SourceConfig {
  const [[kind, value] = ['none', null]] = entry === 'none' ? [] : Object.entries(entry)
  const { name, ...options } = value ?? {}
  return { id: name ?? kind, kind: kind as SourceKind, options }
}

function hasOneKey(value: object): boolean {
  return Object.keys(value).length === 1
}
