import { type Context, Hono } from 'hono'
import type { AuthEntry, Config, TopologyConfig } from '../core/config.ts'
import { parseDuration } from '../core/duration.ts'
import { RollcallError } from '../core/error.ts'
import { plan } from '../core/plan.ts'
import { authorize, maySee } from './auth.ts'
import type { SourceLoaders } from './asker.ts'
import { createObserver, type Observer } from './observer.ts'
import { readPlanRequest } from './plan-request.ts'
import { problem, problemReply, type Reply } from './problem.ts'
import { createGate } from './rate-limit.ts'
import { createRegistryRoutes, type Seen } from './registry-routes.ts'
import { createRegistry, type Registry } from './resolvers/registry.ts'
import type { Log, SourceContext } from './resolvers/source.ts'
import type { Stores } from './stores/store.ts'
import type { View } from './view.ts'
import { createWaiters, type Waiters } from './waiters.ts'

export interface AppOptions {
  topologies: Config['topologies']
  /** Absent: nobody said who may call, so every call under /v1 is answered `auth_not_configured`. */
  auth?: Config['auth'] | undefined
  /** The kinds of source that this host can ask; a topology with another is a `config` error. */
  loaders: SourceLoaders
  /** Where leases can be kept on this host: none by default, and a topology with a registry is a `config` error. */
  stores?: Stores | undefined
  log: Log
  /** Ms since the Unix epoch. */
  now?: (() => number) | undefined
  /** How the sources reach out: `fetch` alone by default, for that is everywhere. */
  reach?: Partial<Pick<SourceContext, 'fetch' | 'exchange' | 'resolvConf'>> | undefined
  /** See `ObserverOptions`. */
  patienceMs?: number | undefined
  /** Throws at what the host refuses before anything else is looked at. */
  admit?: ((request: Request) => void) | undefined
  /** Present where a caller may wait for a change (`?wait=`); its abort ends every wait. Absent, all are answered at once. */
  waits?: AbortSignal | undefined
  /** Who answers for a topology, where that is not this instance. */
  elsewhere?: ((topology: string, config: TopologyConfig) => Owner | undefined) | undefined
  /** What only some hosts answer, by path (host-routes.ts has them). */
  routes?: Readonly<Record<string, Route>> | undefined
}

/** Answers a GET from what is known of every topology. */
export type Route = (observers: readonly Observer[]) => Reply | Promise<Reply>

/** Answers every request for one topology, as this app would. */
export type Owner = (request: Request) => Promise<Response>

/** What a host may hand to the app with a request. */
export interface Bindings {
  /** Lets an ask go on after the answer that began it. */
  waitUntil?: (ask: Promise<void>) => void
}

interface Admitted {
  readonly caller: AuthEntry
  readonly observer: Observer
}

/** A request under way. */
export type Call = Context<{ Bindings: Bindings }>

const METHODS = ['GET', 'POST', 'PUT', 'DELETE']
// Well below the minute after which most proxies and load balancers give up on an answer.
const MAX_WAIT_MS = 30_000
const REQUEST_ID = /^[\w.-]{1,64}$/
const UNCACHED = { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' }
const UNWAITED = { 'Rollcall-Wait': 'no' }
// An intermediary may keep a list of members, and asks each time whether it still holds: an old one is worse than a late one.
const REVALIDATED = { ...UNCACHED, 'Cache-Control': 'private, no-cache' }

/** Builds the HTTP API of the given topologies, for any host that speaks `fetch`. Throws `config` when one of them cannot be served here. */
export function createApp(options: AppOptions): Hono<{ Bindings: Bindings }> {
  const { log, now = Date.now, admit, routes = {}, loaders, stores = {}, waits } = options
  const context = {
    now,
    log,
    fetch: (...request: Parameters<typeof fetch>) => fetch(...request),
    ...options.reach,
  }
  const observers = new Map<string, Observer>()
  const registries = new Map<string, Registry>()
  const waiters = new Map<Observer, Waiters>()
  const owners = new Map<string, Owner>()
  for (const [topology, config] of Object.entries(options.topologies)) {
    const registry = createRegistry({ topology, config, stores, context })
    if (registry !== undefined) registries.set(topology, registry)
    const known = registry === undefined ? loaders : { ...loaders, registry: async () => registry.source }
    const observer = createObserver({ ...options, loaders: known, topology, config, context })
    observers.set(topology, observer)
    if (waits !== undefined) waiters.set(observer, createWaiters(observer, waits))
    const owner = options.elsewhere?.(topology, config)
    if (owner !== undefined) owners.set(topology, owner)
  }
  const authenticate = createGate(options.auth, now)
  const app = new Hono<{ Bindings: Bindings }>()

  /** One way for every call: an id, an answer or a problem, a line in the log. */
  const answering = (handle: (c: Call) => Reply | Promise<Reply>) => (c: Call) => {
    const startedAt = now()
    const asked = c.req.header('x-request-id') ?? ''
    const id = REQUEST_ID.test(asked) ? asked : crypto.randomUUID()

    function send({ status, headers, body }: Reply): Response {
      const level = status >= 500 ? 'error' : status >= 400 ? 'warn' : 'info'
      log[level]({ id, method: c.req.method, path: c.req.path.slice(0, 256), status, ms: now() - startedAt }, 'request')
      return new Response(body, { status, headers: { ...headers, 'X-Request-Id': id } })
    }

    function fail(error: unknown): Response {
      const reply = problemReply(error)
      if (reply.status === 500 || (error instanceof Error && error.cause !== undefined))
        log.error({ id, err: error }, 'a request failed')
      return send(reply)
    }

    try {
      admit?.(c.req.raw)
      const reply = handle(c)
      return reply instanceof Promise ? reply.then(send).catch(fail) : send(reply)
    } catch (error) {
      return fail(error)
    }
  }

  /** The caller and what it asks about, once both are known to go together. */
  function admitted(c: Call, verb: AuthEntry['verbs'][number]): Admitted | Promise<Admitted> {
    return after(authenticate(c.req.header('authorization')), (caller) => {
      const topology = c.req.param('topology') ?? ''
      authorize(caller, { verb, topology })
      const observer = observers.get(topology)
      if (observer !== undefined) return { caller, observer }
      throw problem('unknown_topology', 'function', 'a configured topology, got another')
    })
  }

  function refreshed(c: Call, observer: Observer): Promise<void> | undefined {
    return observer.refresh((ask) => c.env?.waitUntil?.(ask))
  }

  async function listTopologies(c: Call): Promise<Reply> {
    const caller = await authenticate(c.req.header('authorization'))
    authorize(caller, { verb: 'read' })
    const visible = [...observers].filter(([topology]) => maySee(caller, topology))
    const topologies = visible.map(([topology, observer]) => ({
      topology,
      sources: observer.askers.map((asker) => ({ source: asker.id, outcome: asker.last()?.outcome })),
    }))
    return ok(JSON.stringify({ topologies }), REVALIDATED)
  }

  function listMembers(c: Call): Reply | Promise<Reply> {
    return after(admitted(c, 'read'), ({ observer }) =>
      after(refreshed(c, observer), () => after(waited(c, observer), (refusal) => membersReply(c, observer, refusal))),
    )
  }

  /** Waits for another view than the caller has, for as long as it says; gives the header that says why not. */
  function waited(c: Call, observer: Observer): object | undefined | Promise<undefined> {
    const wait = c.req.query('wait')
    if (wait === undefined) return undefined
    const ms = parseDuration(wait)
    if (ms === undefined) throw problem('bad_query', 'function', '?wait= with a duration like 25s, got another text')
    const here = waiters.get(observer)
    if (here === undefined) return UNWAITED
    const etag = observer.view()?.etag
    if (etag === undefined || !names(c.req.header('if-none-match'), etag)) return undefined
    return here.wait(etag, { ms: Math.min(ms, MAX_WAIT_MS), signal: c.req.raw.signal }) ?? UNWAITED
  }

  function membersReply(c: Call, observer: Observer, refusal: object | undefined): Reply {
    const view = viewOf(observer)
    const time = now()
    const headers = { ...REVALIDATED, ETag: view.etag, ...agesOf(view, time), ...refusal }
    if (names(c.req.header('if-none-match'), view.etag)) return { status: 304, headers, body: null }
    return ok(view.render(time), headers)
  }

  async function seen(c: Call, observer: Observer): Promise<Seen> {
    await refreshed(c, observer)
    const view = viewOf(observer)
    const time = now()
    const headers = { ETag: view.etag, ...agesOf(view, time) }
    return { revision: view.revision, render: () => view.render(time), headers }
  }

  async function makePlan(c: Call): Promise<Reply> {
    const { caller, observer } = await admitted(c, 'plan')
    const { self, connected, state } = await readPlanRequest(c.req.raw)
    authorize(caller, { verb: 'plan', node: self })
    await refreshed(c, observer)
    const { topology, config, askers } = observer
    const asked = { ...config, sources: askers.map(({ id }) => id), observations: observer.observations() }
    const time = now()
    const made = plan(state, { self, now: time, links: connected, topologies: { [topology]: asked } })
    const view = observer.view()
    return ok(JSON.stringify(made), { ...UNCACHED, ...(view && agesOf(view, time)) })
  }

  /** It logs the request itself, unless it never got it. */
  async function handOver(c: Call, owner: Owner): Promise<Response> {
    try {
      return await owner(c.req.raw)
    } catch (cause) {
      const message = '[function] expected the owner of this topology to answer, got an error: the log has it'
      return await answering(() => {
        throw new RollcallError('store_unavailable', message, { cause })
      })(c)
    }
  }

  function refuse(c: Call): Reply {
    const allowed = METHODS.filter((method) => app.router.match(method, c.req.path)[0].length > 0)
    if (allowed.length === 0) throw problem('not_found', 'function', 'a path of /openapi.json, got another')
    const sentence = `${allowed.join(' or ')} here, got another method`
    const reply = problemReply(problem('method_not_allowed', 'function', sentence))
    return { ...reply, headers: { ...reply.headers, Allow: allowed.join(', ') } }
  }

  if (owners.size > 0) {
    app.use('/v1/topologies/:topology/*', async (c, next) => {
      const owner = owners.get(c.req.param('topology'))
      return owner === undefined ? await next() : await handOver(c, owner)
    })
  }
  app.get('/v1/topologies', answering(listTopologies))
  app.get('/v1/topologies/:topology/members', answering(listMembers))
  app.post('/v1/topologies/:topology/plan', answering(makePlan))
  const members = createRegistryRoutes({ registries, admitted: async (c) => await admitted(c, 'register'), seen })
  app.put('/v1/topologies/:topology/members/:node', answering(members.register))
  app.delete('/v1/topologies/:topology/members/:node', answering(members.leave))
  app.get(
    '/healthz',
    answering(() => ok('{"status":"ok"}', UNCACHED)),
  )
  for (const [path, route] of Object.entries(routes)) {
    app.get(
      path,
      answering(() => route([...observers.values()])),
    )
  }
  app.notFound(answering(refuse))
  return app
}

/** Goes on at once where there is nothing to wait for: on the way of most calls, promises alone would cost a tenth. */
function after<Value, Result>(
  value: Value | Promise<Value>,
  proceed: (value: Value) => Result | Promise<Result>,
): Result | Promise<Result> {
  return value instanceof Promise ? value.then(proceed) : proceed(value)
}

function ok(body: string, headers: Reply['headers']): Reply {
  return { status: 200, headers, body }
}

function viewOf(observer: Observer): View {
  const view = observer.view()
  if (view !== undefined) return view
  const sentence = 'an answer of a source, got none yet: /v1/topologies and the log say which fail'
  throw problem('no_answer_yet', 'function', sentence, observer.retryAfterMs())
}

function agesOf(view: View, time: number): Record<string, string> {
  const ageMs = Math.max(0, time - view.at)
  return { Age: String(Math.floor(ageMs / 1_000)), 'Rollcall-Age-Ms': String(ageMs) }
}

/** Whether an `If-None-Match` names the view, by the weak comparison of RFC 9110, section 13.1.2. */
function names(ifNoneMatch = '', etag: string): boolean {
  if (ifNoneMatch === etag) return true
  const tags = ifNoneMatch.split(',').map((tag) => tag.trim())
  return tags.some((tag) => tag === '*' || tag === etag || `W/${tag}` === etag)
}
