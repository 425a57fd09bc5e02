import { type Context, Hono } from 'hono'
import type { AuthEntry, Config, TopologyConfig } from '../core/config.ts'
import { plan } from '../core/plan.ts'
import { authorize, createAuthenticate, maySee } from './auth.ts'
import type { SourceLoaders } from './asker.ts'
import { createObserver, type Observer } from './observer.ts'
import { readPlanRequest } from './plan-request.ts'
import { problem, problemReply, type Reply } from './problem.ts'
import { createGate } from './rate-limit.ts'
import { createRegistration } from './registration.ts'
import type { Log, SourceContext } from './resolvers/source.ts'
import type { Stores } from './stores/store.ts'
import { isNamed, type View } from './view.ts'

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

/** What a caller gets to see of a topology now. */
export interface Seen {
  readonly revision: string
  readonly etag: string
  /** Gives the members document as JSON. */
  readonly render: () => string
  /** Those of the members document. */
  readonly headers: Readonly<Record<string, string>>
}

/** A request under way. */
export type Call = Context<{ Bindings: Bindings }>

const METHODS = ['GET', 'POST', 'PUT', 'DELETE']
const REQUEST_ID = /^[\w.-]{1,64}$/
const UNCACHED = { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' }
// An intermediary may keep a list of members, and asks each time whether it still holds: an old one is worse than a late one.
const REVALIDATED = { ...UNCACHED, 'Cache-Control': 'private, no-cache' }

/** Builds the HTTP API of the given topologies, for any host that speaks `fetch`. Throws `config` when one of them cannot be served here. */
export function createApp(options: AppOptions): Hono<{ Bindings: Bindings }> {
  const { log, now = Date.now, admit, routes = {} } = options
  const context = {
    now,
    log,
    fetch: (...request: Parameters<typeof fetch>) => fetch(...request),
    ...options.reach,
  }
  const registration = createRegistration(options, context)
  const observers = new Map<string, Observer>()
  for (const [topology, config] of Object.entries(options.topologies)) {
    const loaders = { ...options.loaders, ...registration.loadersFor(topology, config) }
    observers.set(topology, createObserver({ ...options, loaders, topology, config, context }))
  }
  const authenticate = createGate(createAuthenticate(options.auth), options.auth, now)
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
      after(refreshed(c, observer), () =>
        after(registration.waited(c, observer), (refusal) => membersReply(c, observer, refusal)),
      ),
    )
  }

  function membersReply(c: Call, observer: Observer, refusal: object | undefined): Reply {
    const { etag, render, headers } = seen(observer)
    const all = { ...REVALIDATED, ...headers, ...refusal }
    if (isNamed(etag, c.req.header('if-none-match'))) return { status: 304, headers: all, body: null }
    return ok(render(), all)
  }

  function seen(observer: Observer): Seen {
    const view = observer.view()
    if (view === undefined) {
      const sentence = 'an answer of a source, got none yet: /v1/topologies and the log say which fail'
      throw problem('no_answer_yet', 'function', sentence, observer.retryAfterMs())
    }
    const time = now()
    const { revision, etag } = view
    return { revision, etag, render: () => view.render(time), headers: { ETag: etag, ...agesOf(view, time) } }
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

  function refuse(c: Call): Reply {
    const allowed = METHODS.filter((method) => app.router.match(method, c.req.path)[0].length > 0)
    if (allowed.length === 0) throw problem('not_found', 'function', 'a path of /openapi.json, got another')
    const sentence = `${allowed.join(' or ')} here, got another method`
    const reply = problemReply(problem('method_not_allowed', 'function', sentence))
    return { ...reply, headers: { ...reply.headers, Allow: allowed.join(', ') } }
  }

  registration.addRoutes(app, {
    answering,
    admitted: async (c) => await admitted(c, 'register'),
    seen: async (c, observer) => {
      await refreshed(c, observer)
      return seen(observer)
    },
  })
  app.get('/v1/topologies', answering(listTopologies))
  app.get('/v1/topologies/:topology/members', answering(listMembers))
  app.post('/v1/topologies/:topology/plan', answering(makePlan))
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

function agesOf(view: View, time: number): Record<string, string> {
  const ageMs = Math.max(0, time - view.at)
  return { Age: String(Math.floor(ageMs / 1_000)), 'Rollcall-Age-Ms': String(ageMs) }
}
