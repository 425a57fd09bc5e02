import * as z from 'zod/mini'
import { RollcallError } from '../error.ts'
import { excerpt } from '../excerpt.ts'
import type { Member } from '../member.ts'
import { nodeName, parseIpv4, parseIpv6 } from '../node.ts'
import { awsOptions } from './aws.ts'
import { memberNamed } from './outcome.ts'

/** Options of the `ec2` source after parsing; `timeout` in ms. */
export type Ec2Options = z.infer<typeof ec2OptionsSchema>

// An instance has no more of them, and a request not many more filters.
const MAX_TAGS = 50

export const ec2OptionsSchema = z.strictObject({
  ...awsOptions,
  /**
   * Those of the instances that are nodes, all of them; without any, every instance of the region is one. A value is a filter of EC2:
   * `*` and `?` stand for others. Null: the value that this instance has.
   */
  tags: z._default(
    z.record(z.string().check(z.minLength(1), z.maxLength(128)), z.nullable(z.string().check(z.maxLength(256)))).check(
      z.refine((tags) => Object.keys(tags).length <= MAX_TAGS, {
        error: `expected at most ${MAX_TAGS} tags: an instance has no more`,
      }),
    ),
    {},
  ),
  /** What a node is named by; `dns` is its private DNS name. */
  address: z._default(z.enum(['private', 'public', 'ipv6', 'dns']), 'private'),
})

/** As DescribeInstances takes it. */
export interface Ec2Filter {
  readonly Name: string
  readonly Values: string[]
}

/** What one entry of an answer gave, as `findingOf` takes it. */
export type Entry = Member | string | undefined

const UP = new Set(['pending', 'running'])
const LEAVING = new Set(['shutting-down', 'stopping'])
const NOWHERE = new Set(['stopped', 'terminated'])

/** The filters that leave the nodes: those with all of the tags that run, or did a moment ago. A value is taken as it is, wildcards too. */
export function filtersOf(tags: Readonly<Record<string, string>>): Ec2Filter[] {
  return [
    ...Object.entries(tags).map(([tag, value]) => ({ Name: `tag:${tag}`, Values: [value] })),
    // Terminated instances stand in answers for about an hour: fleets that are replaced often would be pages of them.
    { Name: 'instance-state-name', Values: [...UP, ...LEAVING] },
  ]
}

/** A value that means itself in a filter. */
export function literally(value: string): string {
  return value.replaceAll(/[\\*?]/g, '\\$&')
}

/**
 * The nodes on one page of DescribeInstances: `shutting-down` and `stopping` are leaving. An instance that runs without the wanted
 * address is a flaw; one that does not run yet, or no more, has none. Throws `bad_answer` for what is no such page.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html
 */
export function readReservations(
  page: unknown,
  { basename, address }: { basename: string; address: Ec2Options['address'] },
): Entry[] {
  return instancesOf(page).map((instance) =>
    typeof instance === 'string' ? instance : memberOf(instance, { basename, address }),
  )
}

/** The value of a tag of the one instance in an answer; undefined where it has no such tag. */
export function readTag(page: unknown, tag: string): string | undefined {
  const [instance] = instancesOf(page)
  if (typeof instance !== 'object') throw badAnswer('this instance', instance)
  const { Tags: tags = [] } = instance as { Tags?: unknown }
  if (!Array.isArray(tags)) throw badAnswer('a list of tags', tags)
  const found = (tags as unknown[]).find((each) => (each as { Key?: unknown } | null)?.Key === tag)
  const { Value: value } = (found ?? {}) as { Value?: unknown }
  return typeof value === 'string' ? value : undefined
}

/** Where the rest of an answer is; undefined at its end. */
export function nextToken(page: unknown): string | undefined {
  const { NextToken: token } = (page ?? {}) as { NextToken?: unknown }
  return typeof token === 'string' && token !== '' ? token : undefined
}

/** Each an object, or a text that says why it is none. */
function instancesOf(page: unknown): (object | string)[] {
  const { Reservations: reservations } = (page ?? {}) as { Reservations?: unknown }
  // Also empty it is there. Whatever else answers 200 (a page to log in) has none, and does not say that nobody is there.
  if (!Array.isArray(reservations)) throw badAnswer('a list of reservations', reservations)
  return (reservations as unknown[]).flatMap((reservation) => {
    const { Instances: instances } = (reservation ?? {}) as { Instances?: unknown }
    // A reservation without instances is none: what was in there could not be read.
    if (!Array.isArray(instances) || instances.length === 0) {
      return [`[ec2] expected the instances of a reservation, got ${excerpt(instances)}`]
    }
    return (instances as unknown[]).map((instance) =>
      typeof instance === 'object' && instance !== null
        ? instance
        : `[ec2] expected an instance, got ${excerpt(instance)}`,
    )
  })
}

function memberOf(
  instance: object,
  { basename, address }: { basename: string; address: Ec2Options['address'] },
): Entry {
  const { InstanceId: id, State } = instance as { InstanceId?: unknown; State?: { Name?: unknown } | null }
  if (typeof id !== 'string' || id === '' || id.length > 255) return `[ec2] expected an InstanceId, got ${excerpt(id)}`
  const state = State?.Name
  if (typeof state !== 'string') return `[ec2] expected the state of the instance ${id}, got ${excerpt(state)}`
  if (NOWHERE.has(state)) return undefined
  const isLeaving = LEAVING.has(state)
  if (!isLeaving && !UP.has(state)) return `[ec2] expected a known state of the instance ${id}, got ${excerpt(state)}`
  const host = hostOf(instance as Record<string, unknown>, address)
  if (host === undefined) {
    return state === 'running' ? `[ec2] expected the ${address} address of the instance ${id}, got none` : undefined
  }
  const member = memberNamed(nodeName(basename, host), 'ec2')
  return typeof member === 'string' ? member : { ...member, ...(isLeaving && { status: 'leaving' }), id }
}

function hostOf(instance: Readonly<Record<string, unknown>>, address: Ec2Options['address']): string | undefined {
  const { PrivateIpAddress, PublicIpAddress, PrivateDnsName } = instance
  if (address === 'ipv6') return ipv6Of(instance)
  if (address === 'dns') return typeof PrivateDnsName === 'string' && PrivateDnsName !== '' ? PrivateDnsName : undefined
  return ipv4(address === 'private' ? PrivateIpAddress : PublicIpAddress)
}

/** Its own, where it says one; else the first of the network interfaces, the primary ones before others. */
function ipv6Of({
  Ipv6Address: own,
  NetworkInterfaces: interfaces,
}: Readonly<Record<string, unknown>>): string | undefined {
  const addresses = (Array.isArray(interfaces) ? (interfaces as unknown[]) : []).flatMap((each): unknown[] => {
    const { Ipv6Addresses: listed } = (each ?? {}) as { Ipv6Addresses?: unknown }
    return Array.isArray(listed) ? (listed as unknown[]) : []
  })
  const found = addresses.map((each) => (each ?? {}) as { Ipv6Address?: unknown; IsPrimaryIpv6?: unknown })
  const primary = found.find(({ IsPrimaryIpv6 }) => IsPrimaryIpv6 === true)
  return [own, primary?.Ipv6Address, ...found.map(({ Ipv6Address }) => Ipv6Address)].map(ipv6).find(Boolean)
}

function ipv4(value: unknown): string | undefined {
  return typeof value === 'string' && parseIpv4(value) !== undefined ? value : undefined
}

function ipv6(value: unknown): string | undefined {
  return typeof value === 'string' && parseIpv6(value) !== undefined ? value : undefined
}

function badAnswer(expected: string, got: unknown): RollcallError {
  return new RollcallError('bad_answer', `[ec2] expected ${expected}, got ${excerpt(got)}: is endpoint one of EC2?`)
}
