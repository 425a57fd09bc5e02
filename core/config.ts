import * as z from 'zod/mini'
import { durationSchema } from './duration.ts'
import { RollcallError } from './error.ts'
import { memberSchema, nodeNameSchema } from './member.ts'
import { defaultPolicy, type Policy, policySchema } from './policy.ts'
import { dnsOptionsSchema } from './sources/dns.ts'

/** The config after parsing: durations in ms, defaults filled in, every source with its id. */
export interface Config {
  node?: string
  distribution?: DistributionConfig
  topologies: Record<string, TopologyConfig>
  agent: { listen?: string; state?: string; leaveOnExit: boolean }
  /** Absent: nobody said who may call; hosts then refuse or serve loopback only. */
  auth?: 'none' | AuthEntry[]
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

const name = z.optional(z.string().check(z.minLength(1)))
const text = z.string().check(z.minLength(1))
const command = z.array(text).check(z.minLength(1, { error: 'expected a program and its arguments' }))
const port = z.int().check(z.minimum(1), z.maximum(65535))
const mfa = z.array(text).check(z.minLength(2, { error: 'expected [module, function, ...args]' }))

const staticOptionsSchema = z.strictObject({ name, nodes: z.array(z.union([nodeNameSchema, memberSchema])) })
const functionOptionsSchema = z.strictObject({
  name,
  url: text.check(z.regex(/^https?:\/\//, { error: 'expected an http:// or https:// address' })),
  /** The topology to ask there; the own topology's name by default. */
  topology: z.optional(text),
  token: z.optional(text),
  timeout: z._default(durationSchema, 5_000),
})
const execOptionsSchema = z.strictObject({ name, command, timeout: z._default(durationSchema, 10_000) })
const noneOptionsSchema = z.strictObject({ name })

const sourceSchemas = {
  static: staticOptionsSchema,
  dns: dnsOptionsSchema,
  function: functionOptionsSchema,
  exec: execOptionsSchema,
  none: noneOptionsSchema,
}

const sourceSchema = z.strictObject({
  static: z.optional(staticOptionsSchema),
  dns: z.optional(dnsOptionsSchema),
  function: z.optional(functionOptionsSchema),
  exec: z.optional(execOptionsSchema),
  none: z.optional(z.union([noneOptionsSchema, z.null()])),
})

const beamSchema = z.strictObject({
  mode: z._default(z.enum(['sidecar']), 'sidecar'),
  cookie: text,
  /** The agent's own node name; `rollcall-<basename>@<host>` by default: one stable name, for every name is an atom for ever. */
  name: z.optional(nodeNameSchema),
  epmd: z.optional(z.strictObject({ host: z.optional(text), port: z.optional(port) })),
  /** The node's distribution port, when it runs without epmd. */
  port: z.optional(port),
  tls: z.optional(z.strictObject({ cert: z.optional(text), key: z.optional(text), ca: text })),
  connect: z.optional(mfa),
  disconnect: z.optional(mfa),
  list: z.optional(mfa),
})

const execDistributionSchema = z.strictObject({ connect: command, disconnect: command, list: command })

const authEntrySchema = z.strictObject({
  name: text,
  sha256: z
    .string()
    .check(z.regex(/^[0-9a-f]{64}$/, { error: 'expected 64 hexadecimal digits: rollcall token prints them' })),
  topologies: z._default(z.union([z.array(text), z.literal('*')]), '*'),
  verbs: z._default(z.array(z.enum(['read', 'plan', 'register'])), ['read', 'plan']),
  nodes: z._default(text, '*'),
})

/** The schema of `rollcall.yaml`: what `rollcall schema` prints. Later work only adds keys. */
export const configSchema = z.strictObject({
  node: z.optional(nodeNameSchema),
  distribution: z.optional(z.strictObject({ beam: z.optional(beamSchema), exec: z.optional(execDistributionSchema) })),
  topologies: z.record(
    text,
    z.strictObject({
      interval: z._default(z.union([z.literal('never'), durationSchema]), 5_000),
      sources: z.array(sourceSchema),
      policy: z._default(policySchema, { ...defaultPolicy }),
    }),
  ),
  agent: z.optional(
    z.strictObject({
      listen: z.optional(text),
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
  void env
  throw new RollcallError('config', `[config] ${file}: not written yet ${String(raw)}`)
}
