import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { type Clock, systemClock } from '../../../agent/clock.ts'
import { type KubernetesResource, kubernetesKinds } from '../../../core/sources/kubernetes.ts'

/** An object of the API, as far as the server cares. */
export interface ApiObject {
  readonly metadata: {
    readonly name: string
    readonly labels?: Readonly<Record<string, string>>
    readonly [field: string]: unknown
  }
  readonly [field: string]: unknown
}

/** What a request asked for. */
export interface Asked {
  readonly verb: 'list' | 'watch'
  readonly path: string
  readonly query: Readonly<Record<string, string>>
  readonly token: string | undefined
}

/** A fault in place of an answer. */
export type Fault = (request: IncomingMessage, response: ServerResponse) => void

export interface KubernetesServerOptions {
  readonly resource?: KubernetesResource
  readonly namespace?: string
  /** Times the ends of watches, and the bookmarks two seconds before them. */
  readonly clock?: Clock
  readonly tls?: { readonly cert: string; readonly key: string }
}

type Change = { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: ApiObject; readonly version: number }

interface Watch {
  readonly response: ServerResponse
  readonly matches: (object: ApiObject) => boolean
}

const REASONS: Readonly<Record<number, string>> = {
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
  410: 'Expired',
  429: 'TooManyRequests',
  500: 'InternalError',
  503: 'ServiceUnavailable',
}

/**
 * An API server on the loopback for one resource in one namespace: lists with labels, pages and continue tokens, watches from a
 * resourceVersion with bookmarks, Status objects, tokens and a Role. What it does not do as the real one does is its storage.
 */
export async function startKubernetesServer({
  resource = 'endpointslices',
  namespace = 'web',
  clock = systemClock,
  tls,
}: KubernetesServerOptions = {}) {
  const { path, group, listKind } = kubernetesKinds[resource]
  const collection = `${path}/namespaces/${namespace}/${resource}`
  const kind = listKind.slice(0, -'List'.length)
  const apiVersion = group === '' ? 'v1' : `${group}/v1`
  const ended = new AbortController()
  const objects = new Map<string, ApiObject>()
  const asked: Asked[] = []
  const waiting: { count: number; resolve: () => void }[] = []
  const watches = new Set<Watch>()
  const sockets = new Set<Socket>()
  const faults: Fault[] = []
  const allowed = new Set<Asked['verb']>(['list', 'watch'])
  let tokens: ReadonlySet<string> | undefined
  let version = 1_000
  /** What may still be watched from, and paged in. */
  let oldest = version
  let history: Change[] = []

  const handle: RequestListener = (request, response) => {
    const url = new URL(request.url ?? '/', 'http://server')
    const query = Object.fromEntries(url.searchParams)
    const verb = query.watch === 'true' ? 'watch' : 'list'
    const [, token] = /^Bearer (.+)$/.exec(request.headers.authorization ?? '') ?? []
    asked.push({ verb, path: url.pathname, query, token })
    for (const each of waiting) if (asked.length >= each.count) each.resolve()
    const fault = faults.shift()
    if (fault !== undefined) return fault(request, response)
    if (tokens !== undefined && !tokens.has(token ?? '')) return refuse(response, 401, 'Unauthorized')
    if (url.pathname !== collection) return refuse(response, 404, 'the server could not find the requested resource')
    if (!allowed.has(verb)) {
      const message = `${resource}${group && `.${group}`} is forbidden: User "system:serviceaccount:${namespace}:app" cannot ${verb} resource "${resource}" in API group "${group}" in the namespace "${namespace}"`
      return refuse(response, 403, message)
    }
    if (verb === 'watch') void watch(response, query)
    else list(response, query)
  }

  function list(response: ServerResponse, query: Asked['query']): void {
    const place = query.continue === undefined ? { version, from: 0 } : readToken(query.continue)
    if (place.version < oldest) {
      return refuse(response, 410, 'The provided continue parameter is too old to display a consistent list result.')
    }
    const all = stateAt(place.version).filter(selector(query))
    // From its cache it gives everything, whatever the limit.
    const size = query.limit === undefined || query.resourceVersion === '0' ? all.length : Number(query.limit)
    const items = all.slice(place.from, place.from + size)
    const left = all.length - place.from - items.length
    const token = Buffer.from(JSON.stringify({ version: place.version, from: place.from + items.length }))
    const more = left > 0 ? { continue: token.toString('base64url'), remainingItemCount: left } : {}
    json(response, 200, {
      kind: listKind,
      apiVersion,
      metadata: { resourceVersion: String(place.version), ...more },
      items,
    })
  }

  async function watch(response: ServerResponse, query: Asked['query']): Promise<void> {
    const since = Number(query.resourceVersion)
    const one = { response, matches: selector(query) }
    if (since < oldest) {
      return refuse(response, 410, `too old resource version: ${since} (${oldest})`)
    }
    response.writeHead(200, { 'Content-Type': 'application/json' })
    response.flushHeaders()
    for (const change of history) if (change.version > since) send(one, change)
    watches.add(one)
    const over = new AbortController()
    response.once('close', () => {
      watches.delete(one)
      over.abort()
    })
    const signal = AbortSignal.any([ended.signal, over.signal])
    const seconds = Number(query.timeoutSeconds ?? '1800')
    if (seconds > 2) {
      await clock.sleep((seconds - 2) * 1_000, signal)
      if (!signal.aborted && query.allowWatchBookmarks === 'true') bookmark(one)
    }
    await clock.sleep(Math.min(seconds, 2) * 1_000, signal)
    if (!signal.aborted) response.end()
  }

  function send({ response, matches }: Watch, { type, object, version }: Change): void {
    if (!matches(object)) return
    const metadata = { ...object.metadata, resourceVersion: String(version) }
    response.write(`${JSON.stringify({ type, object: { kind, apiVersion, ...object, metadata } })}\n`)
  }

  function bookmark({ response }: Watch): void {
    const metadata = { resourceVersion: String(version), creationTimestamp: null }
    response.write(`${JSON.stringify({ type: 'BOOKMARK', object: { kind, apiVersion, metadata } })}\n`)
  }

  function stateAt(wanted: number): ApiObject[] {
    const state = new Map([...objects].map(([name, object]) => [name, object]))
    for (const { version, type, object } of history.toReversed()) {
      if (version <= wanted) break
      if (type === 'ADDED') state.delete(object.metadata.name)
      else if (type === 'DELETED') state.set(object.metadata.name, object)
    }
    return [...state.values()].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))
  }

  function change(type: Change['type'], object: ApiObject): void {
    version++
    const made = { type, object, version }
    history.push(made)
    for (const one of watches) send(one, made)
  }

  const server = tls === undefined ? createServer(handle) : createTlsServer(tls, handle)
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo

  return {
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    port,
    collection,
    asked,
    connections: () => sockets.size,
    version: () => version,
    /** Resolves when nobody is connected any more. */
    async idle() {
      for (const socket of sockets) await new Promise((resolve) => socket.once('close', resolve))
    },

    put(object: ApiObject) {
      const type = objects.has(object.metadata.name) ? 'MODIFIED' : 'ADDED'
      objects.set(object.metadata.name, object)
      change(type, object)
    },
    delete(name: string) {
      const object = objects.get(name)
      if (object === undefined) throw new Error(`expected an object ${name}, got none`)
      objects.delete(name)
      change('DELETED', object)
    },
    /** Resolves when `count` requests have come in all. */
    async requests(count: number) {
      if (asked.length >= count) return
      const { promise, resolve } = Promise.withResolvers<void>()
      waiting.push({ count, resolve })
      await promise
    },
    /** The next request gets this in place of an answer, the one after it the next. */
    fault: (...next: Fault[]) => void faults.push(...next),
    refuse,
    accept: (...accepted: string[]) => void (tokens = new Set(accepted)),
    forbid: (verb: Asked['verb']) => void allowed.delete(verb),
    bookmark: () => watches.forEach(bookmark),
    /** Forgets what came before: who watches from there or pages in it gets 410. */
    compact() {
      oldest = ++version
      history = []
    },
    /** Says something odd to all who watch. */
    say: (text: string) => watches.forEach(({ response }) => response.write(text)),
    /** Ends all watches as a server does that is shut down. */
    end: () => watches.forEach(({ response }) => response.end()),
    /** Ends all connections without a word. */
    cut: () => sockets.forEach((socket) => socket.resetAndDestroy()),
    async close() {
      ended.abort()
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

export type KubernetesServer = Awaited<ReturnType<typeof startKubernetesServer>>

/** Answers with a Status object. */
export function refuse(
  response: ServerResponse,
  code: number,
  message: string,
  headers: Record<string, string> = {},
): void {
  const reason = REASONS[code] ?? 'Unknown'
  const status = { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, code }
  json(response, code, status, headers)
}

function json(response: ServerResponse, status: number, document: object, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'Content-Type': 'application/json', ...headers })
  response.end(`${JSON.stringify(document)}\n`)
}

function readToken(token: string): { version: number; from: number } {
  return JSON.parse(Buffer.from(token, 'base64url').toString()) as { version: number; from: number }
}

/** `a=b,c=d` of labels, and `metadata.name=x` of fields. */
function selector({ labelSelector = '', fieldSelector = '' }: Asked['query']): (object: ApiObject) => boolean {
  const labels = labelSelector.split(',').filter(Boolean)
  const [, wanted] = /^metadata\.name=(.+)$/.exec(fieldSelector) ?? []
  return ({ metadata }) =>
    (wanted === undefined || metadata.name === wanted) &&
    labels.every((label) => {
      const [key = '', value] = label.split('=')
      return metadata.labels?.[key] === value
    })
}
