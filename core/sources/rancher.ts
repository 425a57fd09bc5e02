import * as z from 'zod/mini'
import { durationSchema } from '../duration.ts'
import { RollcallError } from '../error.ts'
import type { Member } from '../member.ts'
import { nodeName, parseIpv4, parseIpv6 } from '../node.ts'
import { basename, name, text } from '../setting.ts'
import { baseUrl } from './base-url.ts'
import { type Finding, findingOf, memberNamed } from './outcome.ts'

/** Options of the `rancher` source after parsing; `timeout` in ms. */
export type RancherOptions = z.infer<typeof rancherOptionsSchema>

export const rancherOptionsSchema = z
  .strictObject({
    name,
    /** Of the metadata service, which knows who asks by the address that the question comes from. */
    url: z._default(baseUrl, 'http://rancher-metadata'),
    /** Where `service` is; the own stack by default. */
    stack: z.optional(text),
    /** Whose containers are the nodes: the service that this container is part of by default. */
    service: z.optional(text),
    /** The part before the `@` of the names it makes; the agent's own by default. */
    basename,
    /** How long an answer may take, ms; as long as the usual interval. */
    timeout: z._default(durationSchema, 5_000),
  })
  .check(
    z.refine(({ stack, service }) => stack === undefined || service !== undefined, {
      error: 'expected service beside stack',
    }),
  )

// States of a container as Rancher 1.6 knows them. Those that are in neither set are up: starting, running, restarting, and
// whatever comes. health_state says nothing about membership: an unhealthy node is one still.
const LEAVING = new Set(['stopping', 'removing'])
const NOWHERE = new Set([
  'requested',
  'creating',
  'stopped',
  'updating-stopped',
  'removed',
  'restoring',
  'purging',
  'purged',
  'erroring',
  'error',
])
const MAX_ID = 255

/** Where the metadata of the service is, below the address of the metadata service. */
export function servicePath({ stack, service }: Pick<RancherOptions, 'stack' | 'service'>): string {
  if (service === undefined) return '/latest/self/service'
  if (stack === undefined) return `/latest/self/stack/services/${encodeURIComponent(service)}`
  return `/latest/stacks/${encodeURIComponent(stack)}/services/${encodeURIComponent(service)}`
}

/**
 * The nodes in the containers of a service, or of a list of services. A running container without an address is a flaw. Throws
 * `no_service` for an empty list, and `bad_answer` for what is no service: neither says that nobody is there.
 * https://rancher.com/docs/rancher/v1.6/en/rancher-services/metadata-service/
 */
export function readService(answer: unknown, basename: string): Finding {
  const services: readonly unknown[] = Array.isArray(answer) ? answer : [answer]
  if (services.length === 0) {
    throw new RollcallError('no_service', '[rancher] expected a service, got an empty list: check stack and service')
  }
  return findingOf(services.flatMap(containersOf).map((container) => memberOf(container, basename)))
}

function containersOf(service: unknown): readonly unknown[] {
  const { containers } = (service ?? {}) as { containers?: unknown }
  // What the metadata service says of a service without containers.
  if (containers === null) return []
  if (Array.isArray(containers)) return containers
  const got = containers === undefined ? 'none' : `a ${typeof containers}`
  throw new RollcallError('bad_answer', `[rancher] expected a service with a list of containers, got ${got}: check url`)
}

function memberOf(container: unknown, basename: string): Member | string | undefined {
  const { name: called, uuid, state, ips } = (container ?? {}) as Record<string, unknown>
  const label = typeof called === 'string' ? JSON.stringify(called.slice(0, 60)) : 'without a name'
  if (typeof state === 'string' && NOWHERE.has(state)) return undefined
  const [ip] = Array.isArray(ips) ? (ips as unknown[]) : []
  if (typeof ip !== 'string' || (parseIpv4(ip) ?? parseIpv6(ip)) === undefined) {
    return `[rancher] expected an IP address of the container ${label}, got none`
  }
  const member = memberNamed(nodeName(basename, ip), 'rancher')
  if (typeof member === 'string') return member
  const isLeaving = typeof state === 'string' && LEAVING.has(state)
  const id = typeof uuid === 'string' && uuid.length <= MAX_ID ? uuid : undefined
  return { ...member, ...(isLeaving && { status: 'leaving' }), ...(id !== undefined && { id }) }
}
