import * as z from 'zod/mini'
import { RollcallError } from '../error.ts'
import { isLoopback } from '../node.ts'
import { basename, name, text } from '../setting.ts'

/** Options of the `kubernetes` source after parsing. */
export type KubernetesOptions = z.infer<typeof kubernetesOptionsSchema>
export type KubernetesResource = KubernetesOptions['resource']

// RFC 1123, which Kubernetes asks of the names of namespaces and services.
const label = z
  .string()
  .check(
    z.regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, { error: 'expected a name of lower case letters, digits and -' }),
  )
const server = z.string().check(
  z.regex(/^https?:\/\/[^\s/?#@]+(\/[^\s?#]*)?$/, {
    error: 'expected an http:// or https:// address without a query',
  }),
)

export const kubernetesOptionsSchema = z
  .strictObject({
    name,
    /** What is listed. Endpoints are deprecated since Kubernetes 1.33 and hold at most 1,000 addresses; slices hold them all. */
    resource: z._default(z.enum(['endpointslices', 'endpoints', 'pods']), 'endpointslices'),
    /** A label selector like `app=web,tier in (a,b)`. Pods need one. */
    selector: z.optional(text),
    /** The Service whose endpoints are meant; beside pods only the name of the service in host names. */
    service: z.optional(label),
    /** The pod's own by default. */
    namespace: z.optional(label),
    /** The part before the `@` of the names it makes; the agent's own by default. */
    basename,
    /**
     * `ip`: `base@10.0.0.1`. `dns`: `base@10-0-0-1.<namespace>.pod.<clusterDomain>`. `hostname`:
     * `base@<hostname>.<service>.<namespace>.svc.<clusterDomain>`, for the pods of a StatefulSet. Of a pod with addresses of both
     * families the one of the own node's family counts, for a node has one name.
     */
    host: z._default(z.enum(['ip', 'dns', 'hostname']), 'ip'),
    /** Readiness is about traffic, not about membership: a node that waits for its mesh to become ready must be found before. */
    notReady: z._default(z.enum(['include', 'skip']), 'include'),
    /** The kubelet's `--cluster-domain`, which is this one unless somebody changed it. */
    clusterDomain: z._default(text, 'cluster.local'),
    /** The API server; by default the one of the cluster that the pod runs in. `http://127.0.0.1:8001` is a `kubectl proxy`. */
    server: z.optional(server),
    /** The bearer token, read again at each use, for it rotates; by default the service account's. None goes to an `http://` server. */
    tokenFile: z.optional(text),
    /** The certificates that the server's must come from; by default the service account's. */
    caFile: z.optional(text),
    /** False: ask every interval, from the API server's cache, instead of being told. A watch brings changes at once, whatever the interval. */
    watch: z._default(z.boolean(), true),
  })
  .check(
    z.refine(({ resource, selector }) => resource !== 'pods' || selector !== undefined, {
      path: ['selector'],
      error: 'expected a label selector like app=web: pods are found by their labels only',
    }),
    z.refine(({ selector, service }) => selector !== undefined || service !== undefined, {
      path: ['service'],
      error: 'expected the name of a service here, or a label selector under selector',
    }),
    z.refine(({ server, tokenFile }) => tokenFile === undefined || server === undefined || isPrivate(server), {
      path: ['tokenFile'],
      error: 'expected an https:// server beside a token: http:// would show it to everybody on the way',
    }),
    z.refine(({ server, caFile }) => caFile === undefined || !server?.startsWith('http://'), {
      path: ['caFile'],
      error: 'expected an https:// server beside a CA file: http:// has no certificates to verify',
    }),
  )

/** One kind of object in the API: where it is found and what lists of it are called. */
export interface KubernetesKind {
  readonly group: '' | 'discovery.k8s.io'
  readonly path: string
  readonly listKind: string
}

export const kubernetesKinds: Readonly<Record<KubernetesResource, KubernetesKind>> = {
  endpointslices: { group: 'discovery.k8s.io', path: '/apis/discovery.k8s.io/v1', listKind: 'EndpointSliceList' },
  endpoints: { group: '', path: '/api/v1', listKind: 'EndpointsList' },
  pods: { group: '', path: '/api/v1', listKind: 'PodList' },
}

/** An object of JSON, nothing known of its values. */
export type Fields = Readonly<Record<string, unknown>>

/** One page of a list. `next` is empty on the last. */
export interface ListPage {
  readonly items: readonly unknown[]
  readonly resourceVersion: string
  readonly next: string
}

/** One line of a watch. */
export type WatchEvent =
  | { readonly type: 'set'; readonly object: unknown; readonly resourceVersion: string }
  | { readonly type: 'deleted'; readonly name: string; readonly resourceVersion: string }
  | { readonly type: 'bookmark'; readonly resourceVersion: string }
  | { readonly type: 'error'; readonly status: number; readonly message: string }

/** The selectors that ask for no more than what is wanted, by query parameter. */
export function selectorsOf({ resource, selector, service }: KubernetesOptions): Record<string, string> {
  const bySlice = resource === 'endpointslices' && service !== undefined ? `kubernetes.io/service-name=${service}` : ''
  const labels = [selector, bySlice].filter(Boolean).join(',')
  return {
    ...(labels !== '' && { labelSelector: labels }),
    ...(resource === 'endpoints' && service !== undefined && { fieldSelector: `metadata.name=${service}` }),
  }
}

/** Reads one page of a list. Throws `bad_answer`: what is no list must not pass for an empty one. */
export function readPage(document: unknown, { listKind }: KubernetesKind): ListPage {
  const { kind, items, metadata } = fieldsOf(document)
  if (kind !== listKind) throw badAnswer(`a ${listKind}, got ${describe(kind)}`)
  const { resourceVersion, continue: next = '' } = fieldsOf(metadata)
  // A watch from no version would begin anywhere.
  if (typeof resourceVersion !== 'string' || resourceVersion === '') {
    throw badAnswer(`a resourceVersion, got ${describe(resourceVersion)}`)
  }
  if (typeof next !== 'string') throw badAnswer(`a continue token, got ${describe(next)}`)
  // An empty list of Go is null in JSON.
  if (items !== null && !Array.isArray(items)) throw badAnswer(`a list under items, got ${describe(items)}`)
  return { items: items ?? [], resourceVersion, next }
}

/** Reads one event of a watch. Throws `bad_answer` where it cannot be applied: the set would be wrong without it. */
export function readEvent(document: unknown): WatchEvent {
  const { type, object } = fieldsOf(document)
  const { metadata, code, message } = fieldsOf(object)
  if (type === 'ERROR') {
    // It becomes part of an error's code.
    const status = typeof code === 'number' && /^[45]\d\d$/.test(String(code)) ? code : 500
    return { type: 'error', status, message: typeof message === 'string' ? message : '' }
  }
  const { resourceVersion, name } = fieldsOf(metadata)
  const kind = type === 'ADDED' || type === 'MODIFIED' ? 'set' : type === 'DELETED' ? 'deleted' : 'bookmark'
  if (kind === 'bookmark' && type !== 'BOOKMARK') throw badAnswer(`an event of a known type, got ${describe(type)}`)
  if (typeof resourceVersion !== 'string' || resourceVersion === '') {
    throw badAnswer(`an event with a resourceVersion, got ${describe(resourceVersion)}`)
  }
  if (kind === 'bookmark') return { type: kind, resourceVersion }
  if (typeof name !== 'string' || name === '') throw badAnswer(`an object with a name, got ${describe(name)}`)
  return kind === 'deleted' ? { type: kind, name, resourceVersion } : { type: kind, object, resourceVersion }
}

/** The fields of an object of JSON; none where the value is no object. */
export function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {}
}

/** A value for a message, on one line. */
export function describe(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 80))
  return value === null ? 'null' : Array.isArray(value) ? 'a list' : `a value of type ${typeof value}`
}

function isPrivate(server: string): boolean {
  const [, host = ''] = /^http:\/\/(\[[^\]]*\]|[^:/]+)/.exec(server) ?? []
  return !server.startsWith('http://') || isLoopback(host)
}

function badAnswer(expected: string): RollcallError {
  return new RollcallError('bad_answer', `[kubernetes] expected ${expected}: is it a Kubernetes API server?`)
}
