import * as z from 'zod/mini'
import { awsSources } from './aws-sources.ts'
import { unknownName } from './config-error.ts'
import { durationSchema } from './duration.ts'
import { quoteName } from './excerpt.ts'
import type { ConfigOrigin } from './interpolation.ts'
import { memberSchema } from './member.ts'
import { nearest } from './nearest.ts'
import {
  hasOneKey,
  type ServedConfig,
  servedShape,
  servedSources,
  type SourceConfig,
  topologyConfigs,
  validate,
} from './served-config.ts'
import { name, node, port, text } from './setting.ts'
import { consulOptionsSchema } from './sources/consul.ts'
import { gossipOptionsSchema } from './sources/gossip.ts'
import { epmdOptionsSchema } from './sources/epmd.ts'
import { kubernetesOptionsSchema } from './sources/kubernetes.ts'
import { isSourcePath, ownSourceSchema } from './sources/own.ts'
import { rancherOptionsSchema } from './sources/rancher.ts'

export type { AuthEntry, SourceConfig, StaticOptions, TopologyConfig } from './served-config.ts'

/** The config after parsing: durations in ms, defaults filled in, every source with its id. */
export interface Config extends ServedConfig {
  node?: string | undefined
  distribution?: DistributionConfig | undefined
  agent: { listen?: string | undefined; state?: string | undefined; leaveOnExit: boolean }
}

export type BeamConfig = z.infer<typeof beamSchema>
export type ExecDistributionConfig = z.infer<typeof execDistributionSchema>
export type DistributionConfig = { beam: BeamConfig } | { exec: ExecDistributionConfig }
export type FunctionOptions = z.infer<typeof functionOptionsSchema>
export type ExecOptions = z.infer<typeof execOptionsSchema>

const command = z.array(text).check(z.minLength(1, { error: 'expected a program and its arguments' }))
const mfa = z.array(text).check(z.minLength(2, { error: 'expected [module, function, ...args]' }))

// What a function reads of a registration ends at 4 KB, of which the rest takes one at most.
const MAX_META_CHARACTERS = 3_000
const registrationSchema = z.strictObject({
  /** How long the lease is to last; what the registry grants (its own `ttl`) by default, and at most that. */
  ttl: z.optional(durationSchema.check(z.gte(1_000, { error: 'expected a lease of at least 1s' }))),
  /** What others are to read of this node beside its name. */
  meta: z.optional(
    z.record(z.string(), z.string(), { error: 'expected a mapping of names to texts' }).check(
      z.refine((meta) => memberSchema.shape.meta.safeParse(meta).success, {
        error: 'expected names of at most 255 characters, and texts of at most 1024',
      }),
      z.refine((meta) => JSON.stringify(meta).length <= MAX_META_CHARACTERS, {
        error: `expected at most ${MAX_META_CHARACTERS} characters in all`,
      }),
    ),
  ),
})

export const functionOptionsSchema = z.strictObject({
  name,
  url: text.check(z.regex(/^https?:\/\//, { error: 'expected an http:// or https:// address' })),
  /** The topology to ask there; the own topology's name by default. */
  topology: z.optional(text),
  token: z.optional(text),
  /** Whether this node says there that it is here: the topology there has a `registry`. Off by default, for most functions ask elsewhere. */
  register: z._default(
    z.union([z.boolean(), registrationSchema], { error: 'expected true, false or { ttl, meta }' }),
    false,
  ),
  timeout: z._default(durationSchema, 5_000),
})
export const execOptionsSchema = z.strictObject({ name, command, timeout: z._default(durationSchema, 10_000) })

const beamSchema = z
  .strictObject({
    /** Beside a BEAM node, or as a node of the mesh itself. */
    mode: z._default(z.enum(['sidecar', 'member']), 'sidecar'),
    cookie: text,
    /** The name of a sidecar's own connections; `rollcall-<basename>@<host>` by default: one stable name, for every name is an atom for ever. */
    name: z.optional(node),
    epmd: z.optional(z.strictObject({ host: z.optional(text), port: z.optional(port) })),
    /** The distribution port of every node, when they run without epmd. */
    port: z.optional(port),
    /** The address that a member listens at; that of its name by default. */
    listen: z.optional(text),
    /** Whether a member stays out of `nodes()` of the others; a visible one that does not speak `global` makes `global:sync()` hang there. */
    hidden: z.optional(z.boolean()),
    /** Who may dial a member: names, `*` being any run of characters. Who knows the cookie may by default. A name is what a peer says of itself. */
    allow: z.optional(z.array(text).check(z.minLength(1))),
    tls: z.optional(z.strictObject({ cert: z.optional(text), key: z.optional(text), ca: text })),
    connect: z.optional(mfa),
    disconnect: z.optional(mfa),
    list: z.optional(mfa),
  })
  .check(
    z.refine(({ mode, listen, hidden, allow }) => mode === 'member' || (listen ?? hidden ?? allow) === undefined, {
      error: 'expected no listen, hidden or allow in mode sidecar: they are about a member',
    }),
    z.refine(
      ({ mode, name, connect, disconnect, list }) =>
        mode === 'sidecar' || (name ?? connect ?? disconnect ?? list) === undefined,
      {
        error: 'expected no name, connect, disconnect or list in mode member: node says its name, and it dials itself',
      },
    ),
    z.refine(
      ({ mode, tls }) => mode === 'sidecar' || tls === undefined || (tls.cert !== undefined && tls.key !== undefined),
      {
        error: 'expected cert and key beside ca in the tls of a member: it is dialled, and shows its own',
      },
    ),
  )

const execDistributionSchema = z.strictObject({ connect: command, disconnect: command, list: command })
const distributionSchema = z.pipe(
  z
    .strictObject({ beam: z.optional(beamSchema), exec: z.optional(execDistributionSchema) })
    .check(z.refine(hasOneKey, { error: 'expected either beam or exec' })),
  z.transform((value) => value as DistributionConfig),
)

const listen = z
  .string()
  .check(z.regex(/^(\[[0-9a-fA-F:.]+\]|[^\s:]+):\d{1,5}$/, { error: 'expected host:port like 127.0.0.1:8788' }))

const allSources = {
  ...servedSources,
  ...awsSources,
  function: functionOptionsSchema,
  exec: execOptionsSchema,
  kubernetes: kubernetesOptionsSchema,
  epmd: epmdOptionsSchema,
  rancher: rancherOptionsSchema,
  consul: consulOptionsSchema,
  gossip: gossipOptionsSchema,
}
const { topologies, auth, log } = servedShape(allSources, suggestName, ownSourceSchema)

/** The schema of `rollcall.yaml`: what `rollcall schema` prints. Later work only adds keys. */
export const configSchema = z.strictObject({
  node: z.optional(node),
  distribution: z.optional(distributionSchema),
  topologies,
  agent: z._default(
    z.strictObject({
      listen: z.optional(listen),
      state: z.optional(text),
      leaveOnExit: z._default(z.boolean(), false),
    }),
    { leaveOnExit: false },
  ),
  auth,
  log,
})

/** Validates what was read from `file`. `env` resolves `${NAME}`; throws `config` naming the file, the path in it and what was expected. */
export function parseConfig(raw: unknown, origin: ConfigOrigin): Config {
  const { topologies, ...rest } = validate(raw, { ...origin, schema: configSchema, unknown: suggestName })
  const configs = topologyConfigs(topologies, origin.file)
  for (const [topology, { sources }] of Object.entries(configs)) {
    const path = ['topologies', topology, 'sources']
    const entries = topologies[topology]?.sources ?? []
    for (const source of sources) {
      const index = entries.findIndex((entry) => entry !== 'none' && isEntryOf(source, entry))
      if (isSourcePath(source.kind)) source.where = { file: origin.file, path: [...path, index, source.kind] }
    }
  }
  return { ...rest, topologies: configs }
}

function isEntryOf({ id, kind }: SourceConfig, entry: Record<string, unknown>): boolean {
  const { name = kind } = (entry[kind] ?? {}) as { name?: string }
  return Object.hasOwn(entry, kind) && name === id
}

/** `unknown key graze, did you mean grace?`; all that are known where nothing is near. */
export function suggestName(word: string, name: string, known: readonly string[]): string {
  if (word === 'source' && isSourcePath(name))
    return 'expected one path, and under it its options: a mapping whose name is text'
  const near = word === 'source' && isSourcePath(`./${name}`) ? `./${name}` : nearest(name, known)
  return near === undefined
    ? unknownName(word, name, known)
    : `unknown ${word} ${quoteName(name)}, did you mean ${near}?`
}
