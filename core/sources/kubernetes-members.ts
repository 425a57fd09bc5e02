import type { Member } from '../member.ts'
import { canonicalHost, isNodeName, nodeName, parseIpv4, parseIpv6 } from '../node.ts'
import { describe, type Fields, fieldsOf, type KubernetesOptions, type KubernetesResource } from './kubernetes.ts'
import type { Finding } from './outcome.ts'

/** How names are made of what the API lists. */
export interface Naming {
  readonly options: KubernetesOptions
  readonly basename: string
  /** The namespace that is asked. */
  readonly namespace: string
  /** The family of the own node's host; undefined where that has none. */
  readonly family: Family | undefined
}

type Family = 4 | 6

/** One endpoint or pod, named. */
export interface Candidate {
  readonly member: Member
  readonly family: Family | undefined
}

/** What one object of the API says: its endpoints, and a sentence for each that had to be left out. */
export interface ObjectReading {
  readonly name: string
  readonly candidates: readonly Candidate[]
  readonly flaws: readonly string[]
}

// More of one object help nobody, and somebody else may have written them.
const MAX_FLAWS = 10

/** Reads one object of the API. Never throws: what cannot be named is left out, with a sentence. */
export function readObject(object: unknown, naming: Naming): ObjectReading {
  const { metadata } = fieldsOf(object)
  const { name } = fieldsOf(metadata)
  if (typeof name !== 'string' || name === '') {
    return { name: '', candidates: [], flaws: [`[kubernetes] an object has no name but ${describe(name)}`] }
  }
  const flaws: string[] = []
  const candidates: Candidate[] = []
  for (const found of READERS[naming.options.resource](fieldsOf(object), naming, flaws)) {
    if (!found.ready && found.status === 'up' && naming.options.notReady === 'skip') continue
    const host = hostFor(found, naming)
    const node = nodeName(naming.basename, host.name ?? '')
    const flaw = host.flaw ?? (isNodeName(node) ? undefined : `${describe(node)}, which is no node name`)
    if (flaw !== undefined) {
      if (flaws.length < MAX_FLAWS) flaws.push(`[kubernetes] ${describe(name)}: ${found.who} has ${flaw}`)
      continue
    }
    const { status, id } = found
    const member: Member = id === undefined ? { node, status } : { node, status, id }
    candidates.push({ member, family: familyOf(found.address) })
  }
  return { name, candidates, flaws }
}

/** The members of all objects together, each once. */
export function membersOf(readings: Iterable<ObjectReading>, { family = 4 }: Pick<Naming, 'family'>): Finding {
  const flaws = new Set<string>()
  const lives = new Map<string, Candidate>()
  for (const reading of readings) {
    for (const flaw of reading.flaws) flaws.add(flaw)
    for (const candidate of reading.candidates) {
      // Slices repeat an endpoint while they are rearranged, and list a dual-stack pod once in each family.
      const key = candidate.member.id ?? `@${candidate.member.node}`
      const known = lives.get(key)
      lives.set(key, known === undefined ? candidate : oneLife(known, candidate, { family, flaws }))
    }
  }
  const nodes = new Map<string, Member>()
  for (const { member } of lives.values()) {
    const known = nodes.get(member.node)
    nodes.set(member.node, known === undefined ? member : oneName(known, member, flaws))
  }
  return { members: [...nodes.values()], flaws: [...flaws] }
}

/** The IP family of a host in a node name: an address, or the first label of a pod's DNS name. */
export function familyOf(host: string): Family | undefined {
  if (parseIpv4(host) !== undefined) return 4
  if (parseIpv6(host) !== undefined) return 6
  const [first = ''] = host.split('.', 1)
  if (parseIpv4(first.replaceAll('-', '.')) !== undefined) return 4
  return parseIpv6(first.replaceAll('-', ':')) === undefined ? undefined : 6
}

interface Found {
  /** For messages. */
  readonly who: string
  readonly address: string
  readonly hostname: unknown
  /** The service whose name stands in its host name, where the options name none. */
  readonly service: unknown
  readonly namespace: unknown
  readonly id: string | undefined
  readonly status: Member['status']
  readonly ready: boolean
}

type Reader = (object: Fields, naming: Naming, flaws: string[]) => Iterable<Found>

const READERS: Readonly<Record<KubernetesResource, Reader>> = {
  endpointslices: readSlice,
  endpoints: readEndpoints,
  pods: readPod,
}

/** https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/ */
function* readSlice({ metadata, endpoints }: Fields, _naming: Naming, flaws: string[]): Iterable<Found> {
  const { name, labels } = fieldsOf(metadata)
  const service = fieldsOf(labels)['kubernetes.io/service-name']
  for (const endpoint of listIn(endpoints, `${describe(name)}: endpoints`, flaws)) {
    const { addresses, conditions, hostname, targetRef } = fieldsOf(endpoint)
    const { ready, serving, terminating } = fieldsOf(conditions)
    yield {
      ...referenced(targetRef),
      // All addresses of an endpoint are the same to its clients, which take the first.
      address: textOf(Array.isArray(addresses) ? addresses[0] : undefined),
      hostname,
      service,
      status: terminating === true ? 'leaving' : 'up',
      // A headless service with publishNotReadyAddresses calls everybody ready; `serving` does not.
      ready: (serving ?? ready) !== false,
    }
  }
}

/** https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoints-v1/ */
function* readEndpoints({ metadata, subsets }: Fields, _naming: Naming, flaws: string[]): Iterable<Found> {
  const { name, annotations } = fieldsOf(metadata)
  if (fieldsOf(annotations)['endpoints.kubernetes.io/over-capacity'] === 'truncated') {
    flaws.push(`[kubernetes] ${describe(name)}: cut at 1,000 addresses: resource endpointslices has them all`)
  }
  for (const subset of listIn(subsets, `${describe(name)}: subsets`, flaws)) {
    for (const field of ['addresses', 'notReadyAddresses']) {
      for (const entry of listIn(fieldsOf(subset)[field], `${describe(name)}: ${field}`, flaws)) {
        const { ip, hostname, targetRef } = fieldsOf(entry)
        const address = textOf(ip)
        const ready = field === 'addresses'
        yield { ...referenced(targetRef), address, hostname, service: name, status: 'up', ready }
      }
    }
  }
}

/** https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/ */
function* readPod({ metadata, spec, status }: Fields, { family }: Naming, flaws: string[]): Iterable<Found> {
  const { name, namespace, uid, deletionTimestamp } = fieldsOf(metadata)
  const { phase, podIP, podIPs, conditions } = fieldsOf(status)
  // Its processes have ended; its address may be another pod's by now.
  if (phase === 'Failed' || phase === 'Succeeded') return
  const addresses = listIn(podIPs, `${describe(name)}: podIPs`, flaws).map((entry) => textOf(fieldsOf(entry).ip))
  const primary = podIP === undefined || podIP === '' ? addresses[0] : textOf(podIP)
  // Not started yet: it is no node before it has an address.
  if (primary === undefined) return
  const { hostname, subdomain } = fieldsOf(spec)
  const readiness = listIn(conditions, `${describe(name)}: conditions`, flaws).map(fieldsOf)
  yield {
    who: 'it',
    address: addresses.find((address) => family !== undefined && familyOf(address) === family) ?? primary,
    hostname,
    service: subdomain,
    namespace,
    id: idOf(uid),
    status: deletionTimestamp === undefined || deletionTimestamp === null ? 'up' : 'leaving',
    ready: readiness.some(({ type, status }) => type === 'Ready' && status === 'True'),
  }
}

/** Whom an endpoint stands for; an address without a reference is a legal one. */
function referenced(targetRef: unknown): Pick<Found, 'who' | 'namespace' | 'id'> {
  const { kind, name, namespace, uid } = fieldsOf(targetRef)
  const who = name === undefined ? 'an address' : `${kind === 'Pod' ? 'pod' : 'object'} ${describe(name)}`
  return { who, namespace, id: idOf(uid) }
}

type Host = { readonly name: string; readonly flaw?: never } | { readonly name?: never; readonly flaw: string }

/** The host of a node name, or why there is none. */
function hostFor({ address, hostname, service, namespace }: Found, { options, namespace: asked }: Naming): Host {
  const { host, clusterDomain } = options
  const space = typeof namespace === 'string' && namespace !== '' ? namespace : asked
  if (host === 'hostname') {
    const subdomain = options.service ?? service
    if (typeof hostname !== 'string' || hostname === '')
      return { flaw: 'no hostname, as the pods of a StatefulSet have' }
    if (typeof subdomain !== 'string' || subdomain === '') return { flaw: 'no service in its host name: set service' }
    return { name: `${hostname}.${subdomain}.${space}.svc.${clusterDomain}` }
  }
  if (parseIpv4(address) === undefined && parseIpv6(address) === undefined) {
    return { flaw: `${describe(address)}, which is no IP address` }
  }
  if (host === 'ip') return { name: address }
  // CoreDNS reads the dashes of an IPv6 address as colons.
  return { name: `${canonicalHost(address).replaceAll(/[.:]/g, '-')}.${space}.pod.${clusterDomain}` }
}

/** Two entries of one pod. */
function oneLife(a: Candidate, b: Candidate, { family, flaws }: { family: Family; flaws: Set<string> }): Candidate {
  const leaving = a.member.status === 'leaving' ? a : b
  if (a.member.node === b.member.node) return leaving
  const [first, second] = a.member.node < b.member.node ? [a, b] : [b, a]
  if (a.family === b.family)
    flaws.add(`[kubernetes] ${first.member.node} and ${second.member.node} are one pod, listed once: set service`)
  const chosen = a.family !== b.family && second.family === family ? second : first
  return { ...chosen, member: { ...chosen.member, status: leaving.member.status } }
}

/** Two pods under one name: the one that is up took it over from the one that is leaving. */
function oneName(a: Member, b: Member, flaws: Set<string>): Member {
  if (a.status !== b.status) return a.status === 'up' ? a : b
  if (a.status === 'up') flaws.add(`[kubernetes] ${a.node} is the name of two pods`)
  return (a.id ?? '') < (b.id ?? '') ? a : b
}

/** A list that may be missing; anything else is a flaw. */
function listIn(value: unknown, where: string, flaws: string[]): readonly unknown[] {
  if (Array.isArray(value)) return value
  if (value !== undefined && value !== null)
    flaws.push(`[kubernetes] ${where}: expected a list, got ${describe(value)}`)
  return []
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function idOf(uid: unknown): string | undefined {
  return typeof uid === 'string' && uid !== '' && uid.length <= 255 ? uid : undefined
}
