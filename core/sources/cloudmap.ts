import * as z from 'zod/mini'
import { RollcallError } from '../error.ts'
import { excerpt } from '../excerpt.ts'
import type { Member } from '../member.ts'
import { nodeName, parseIpv4, parseIpv6 } from '../node.ts'
import { text } from '../setting.ts'
import { awsOptions } from './aws.ts'
import { type Finding, findingOf, memberNamed } from './outcome.ts'

/** Options of the `cloudmap` source after parsing; `timeout` in ms. */
export type CloudmapOptions = z.infer<typeof cloudmapOptionsSchema>

// The most that DiscoverInstances takes.
const MAX_ATTRIBUTES = 10
/** The most that DiscoverInstances gives; it has no pages. */
export const MAX_INSTANCES = 1_000

export const cloudmapOptionsSchema = z.strictObject({
  ...awsOptions,
  /** By its name, as the service. */
  namespace: text,
  service: text,
  /** Whether unhealthy instances are nodes too: health is about traffic, but ECS marks by it who has ended without saying so. */
  health: z._default(z.enum(['healthy', 'all']), 'healthy'),
  /** Only instances that were registered with all of these. */
  attributes: z._default(
    z.record(text, z.string()).check(
      z.refine((attributes) => Object.keys(attributes).length <= MAX_ATTRIBUTES, {
        error: `expected at most ${MAX_ATTRIBUTES} attributes: Cloud Map takes no more`,
      }),
    ),
    {},
  ),
})

/** What one answer of DiscoverInstances says. */
export interface CloudmapAnswer extends Finding {
  /** Moves when an instance is registered or deregistered, not when its health changes; absent where the answer has none. */
  readonly revision: number | undefined
}

/**
 * The nodes that DiscoverInstances lists, named by the IPv4 address that they were registered with, else the IPv6 address. As many as
 * there can be at most are a flaw: there may be more. The port is the service's, never the distribution's, and is not used. Throws
 * `bad_answer` for what is no list.
 * https://docs.aws.amazon.com/cloud-map/latest/api/API_DiscoverInstances.html
 */
export function readInstances(answer: unknown, basename: string): CloudmapAnswer {
  const { Instances: instances } = (answer ?? {}) as { Instances?: unknown }
  if (!Array.isArray(instances)) {
    throw new RollcallError(
      'bad_answer',
      `[cloudmap] expected a list of instances, got ${excerpt(instances)}: is endpoint one of Cloud Map?`,
    )
  }
  const { members, flaws } = findingOf((instances as unknown[]).map((instance) => memberOf(instance, basename)))
  const full = `[cloudmap] expected fewer than ${MAX_INSTANCES} instances, got as many as Cloud Map gives: choose by attributes`
  return {
    members,
    flaws: instances.length < MAX_INSTANCES ? flaws : [...flaws, full],
    revision: readRevision(answer),
  }
}

/** The revision in an answer; undefined where there is none. */
export function readRevision(answer: unknown): number | undefined {
  const { InstancesRevision: revision } = (answer ?? {}) as { InstancesRevision?: unknown }
  return typeof revision === 'number' && Number.isFinite(revision) ? revision : undefined
}

function memberOf(instance: unknown, basename: string): Member | string {
  const { InstanceId: id, Attributes: attributes } = (instance ?? {}) as { InstanceId?: unknown; Attributes?: unknown }
  if (typeof id !== 'string' || id === '' || id.length > 255) {
    return `[cloudmap] expected an InstanceId, got ${excerpt(id)}`
  }
  const { AWS_INSTANCE_IPV4: ipv4, AWS_INSTANCE_IPV6: ipv6 } = (attributes ?? {}) as Record<string, unknown>
  // One of them alone: a node has one name, and both addresses of a dual-stack host would make two.
  const host = [ipv4, ipv6].find(
    (each) => typeof each === 'string' && (parseIpv4(each) ?? parseIpv6(each)) !== undefined,
  )
  if (typeof host !== 'string') {
    return `[cloudmap] expected AWS_INSTANCE_IPV4 or AWS_INSTANCE_IPV6 of the instance ${excerpt(id)}, got no address`
  }
  const member = memberNamed(nodeName(basename, host), 'cloudmap')
  return typeof member === 'string' ? member : { ...member, id }
}
