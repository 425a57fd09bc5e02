import * as z from 'zod/mini'
import { durationSchema } from '../duration.ts'
import { RollcallError } from '../error.ts'
import type { Member } from '../member.ts'
import { nodeName } from '../node.ts'
import { basename, name, text } from '../setting.ts'
import { baseUrl } from './base-url.ts'
import { type Finding, findingOf, memberNamed } from './outcome.ts'

/** Options of the `consul` source after parsing; `timeout` in ms. */
export type ConsulOptions = z.infer<typeof consulOptionsSchema>

export const consulOptionsSchema = z.strictObject({
  name,
  /** Of a Consul agent: by default the one on this machine, which is how Consul is meant to be asked. */
  url: z._default(baseUrl, 'http://127.0.0.1:8500'),
  service: text,
  /** Whether only instances whose checks all pass are listed. */
  passing: z._default(z.boolean(), true),
  /** Which are asked; the agent's own by default. */
  datacenters: z.optional(z.array(text).check(z.minLength(1), z.maxLength(64))),
  /** Goes into X-Consul-Token; it needs service:read and node:read. */
  token: z.optional(text.check(z.regex(/^[!-~]+$/, { error: 'expected printable ASCII' }))),
  /** The part before the `@` of the names it makes; the agent's own by default. */
  basename,
  /** Whether changes are waited for (blocking queries); else it is asked once an interval. */
  watch: z._default(z.boolean(), true),
  /** How long an answer may take, beyond what it was asked to wait, ms; as long as the usual interval. */
  timeout: z._default(durationSchema, 5_000),
})

/** A question to one datacenter; with an index it waits for a change since then. */
export interface HealthQuestion {
  /** The agent's own where there is none. */
  readonly datacenter?: string | undefined
  readonly since?: { readonly index: number; readonly waitMs: number } | undefined
}

/** Where the instances of the service are, below the address of the agent. */
export function healthPath(
  { service, passing }: Pick<ConsulOptions, 'service' | 'passing'>,
  { datacenter, since }: HealthQuestion,
): string {
  const query = [
    ...(datacenter === undefined ? [] : [`dc=${encodeURIComponent(datacenter)}`]),
    ...(passing ? ['passing=true'] : []),
    ...(since === undefined ? [] : [`index=${since.index}`, `wait=${since.waitMs}ms`]),
  ].join('&')
  return `/v1/health/service/${encodeURIComponent(service)}${query && `?${query}`}`
}

/**
 * The nodes that the health endpoint lists, named by the address of the service, else by that of its node. The port is the
 * service's, never the distribution's, and is not used. Throws `bad_answer` for what is no list.
 * https://developer.hashicorp.com/consul/api-docs/health#list-service-instances-for-service
 */
export function readHealth(answer: unknown, basename: string): Finding {
  if (Array.isArray(answer)) return findingOf((answer as unknown[]).map((entry) => memberOf(entry, basename)))
  const got = answer === null ? 'null' : `a ${typeof answer}`
  throw new RollcallError('bad_answer', `[consul] expected a list of instances, got ${got}: is url a Consul agent?`)
}

/**
 * What X-Consul-Index says, 1 for less, for 0 does not wait; undefined where the endpoint does not wait at all.
 * https://developer.hashicorp.com/consul/api-docs/features/blocking#implementation-details
 */
export function readIndex(header: string | null): number | undefined {
  if (header === null || !/^\d+$/.test(header)) return undefined
  const index = Number(header)
  return Number.isSafeInteger(index) ? Math.max(1, index) : undefined
}

function memberOf(entry: unknown, basename: string): Member | string {
  const { Node: host, Service: service } = (entry ?? {}) as { Node?: unknown; Service?: unknown }
  const address = textAt(service, 'Address') || textAt(host, 'Address')
  if (address !== '') return memberNamed(nodeName(basename, address), 'consul')
  return `[consul] expected an address of the instance ${JSON.stringify(textAt(service, 'ID').slice(0, 60))}, got none`
}

/** The text under a key; empty where there is none. */
function textAt(value: unknown, key: string): string {
  const found = ((value ?? {}) as Record<string, unknown>)[key]
  return typeof found === 'string' ? found : ''
}
