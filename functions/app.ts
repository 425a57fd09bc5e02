import { type Context, Hono } from 'hono'
import type { AuthEntry, Config, TopologyConfig } from '../core/config.ts'
import { RollcallError } from '../core/error.ts'
import { plan } from '../core/plan.ts'
import { authorize, createAuthenticate, maySee } from './auth.ts'
import type { SourceLoaders } from './asker.ts'
import { createObserver, type Observer } from './observer.ts'
import { readPlanRequest } from './plan-request.ts'
import { problem, problemReply, type Reply } from './problem.ts'
import type { Log, SourceContext } from './resolvers/source.ts'
import type { View } from './view.ts'

export interface AppOptions {
  topologies: Config['topologies']
  /** Absent: nobody said who may call, so every call under /v1 is answered `auth_not_configured`. */
  auth?: Config['auth'] | undefined
  /** The kinds of source that this host can ask; a topology with another is a `config` error. */
  loaders: SourceLoaders
  log: Log
  /** Ms since the Unix epoch. */
  now?: (() => number) | undefined
  /** How the sources reach out: `fetch` alone by default, for that is everywhere. */
  reach?: Partial<Pick<SourceContext, 'fetch' | 'exchange' | 'resolvConf'>> | undefined
  /** See `ObserverOptions`. */
  patienceMs?: number | undefined
  /** Throws at what the host refuses before anything else is looked at. */
  admit?: ((request: Request) => void) | undefined
  /** The document of /openapi.json; absent where the host serves it itself, as Workers do from `functions/public/`. */
  openapi?: object | undefined
  /** Serves /readyz: for a host that lives longer than a request. */
  readyz?: boolean | undefined
}

/** What a host may hand to the app with a request. */
export interface Bindings {
  /** Lets an ask go on after the answer that began it. */
  waitUntil?: (ask: Promise<void>) => void
}

interface Admitted {
  readonly caller: AuthEntry
  readonly observer: Observer
}

type Call = Context<{ Bindings: Bindings }>

const METHODS = ['GET', 'POST']
const REQUEST_ID = /^[\w.-]{1,64}$/
const JSON_TYPE = { 'Content-Type': 'application/json' }
// An intermediary may keep a list of members, and asks each time whether it still holds: an old one is worse than a late one.
const REVALIDATED = { ...JSON_TYPE, 'Cache-Control': 'private, no-cache' }
const UNCACHED = { ...JSON_TYPE, 'Cache-Control': 'no-store' }

/** Builds the HTTP API of the given topologies, for any host that speaks `fetch`. Throws `config` when one of them cannot be served here. */
export function createApp(options: AppOptions): Hono<{ Bindings: Bindings }> {
  const { log, now = Date.now, admit, loaders, patienceMs } = options
  const context = {
    now,
    log,
    fetch: (...request: Parameters<typeof fetch>) => fetch(...request),
    ...options.reach,
  }
  const observers = new Map<string, Observer>()
  for (const [topology, config] of Object.entries(options.topologies)) {
    requireServable(topology, config, loaders)
    observers.set(topology, createObserver({ topology, config, loaders, context, patienceMs }))
  }
  const authenticate = createAuthenticate(options.auth)
  const app = new Hono<{ Bindings: Bindings }>()

  /** One way for every call: an id, an answer or a problem, a line in the log. */
  function answer(c: Call, handle: () => Reply | Promise<Reply>): Response | Promise<Response> {
    const startedAt = now()
    const asked = c.req.header('x-request-id')
    const id = asked !== undefined && REQUEST_ID.test(asked) ? asked : crypto.randomUUID()

    function send({ status, headers, body }: Reply): Response {
      const level = status >= 500 ? 'error' : status >= 400 ? 'warn' : 'info'
      log[level]({ id, method: c.req.method, path: c.req.path.slice(0, 256), status, ms: now() - startedAt }, 'request')
      return new Response(body, { status, headers: { ...headers, 'X-Request-Id': id } })
    }

    function fail(error: unknown): Response {
      const reply = problemReply(error)
      if (reply.status === 500) log.error({ id, err: error }, 'a request failed')
      return send(reply)
    }

    try {
      admit?.(c.req.raw)
      const reply = handle()
      return reply instanceof Promise ? reply.then(send).catch(fail) : send(reply)
    } catch (error) {
      return fail(error)
    }
  }

  /** The caller and what it asks about, once both are known to go together. */
  function admitted(c: Call, verb: 'read' | 'plan'): Admitted | Promise<Admitted> {
    return after(authenticate(c.req.header('authorization')), (caller) => {
      const topology = c.req.param('topology') ?? ''
      authorize(caller, { verb, topology })
      const observer = observers.get(topology)
      if (observer !== undefined) return { caller, observer }
      throw problem('unknown_topology', '[function] expected a configured topology, got another')
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
      sources: observer.sources().map(({ source, outcome }) => ({ source, outcome })),
    }))
    return { status: 200, headers: REVALIDATED, body: JSON.stringify({ topologies }) }
  }

  function listMembers(c: Call): Reply | Promise<Reply> {
    return after(admitted(c, 'read'), ({ observer }) => after(refreshed(c, observer), () => membersReply(c, observer)))
  }

  function membersReply(c: Call, observer: Observer): Reply {
    const view = observer.view()
    if (view === undefined) throw noAnswerYet(observer)
    const time = now()
    const headers: Record<string, string> = { ...REVALIDATED, ETag: view.etag, ...agesOf(view, time) }
    if (c.req.query('wait') !== undefined) headers['Rollcall-Wait'] = 'no'
    if (names(c.req.header('if-none-match'), view.etag)) return { status: 304, headers, body: null }
    return { status: 200, headers, body: view.render(time) }
  }

  async function makePlan(c: Call): Promise<Reply> {
    const { caller, observer } = await admitted(c, 'plan')
    const { self, connected, state } = await readPlanRequest(c.req.raw)
    authorize(caller, { verb: 'plan', node: self })
    await refreshed(c, observer)
    const { intervalMs, policy } = observer.config
    const sources = observer.sources().map(({ source }) => source)
    const topologies = { [observer.topology]: { sources, intervalMs, policy, observations: observer.observations() } }
    const time = now()
    const body = JSON.stringify(plan(state, { self, now: time, links: connected, topologies }))
    const view = observer.view()
    return { status: 200, headers: view === undefined ? UNCACHED : { ...UNCACHED, ...agesOf(view, time) }, body }
  }

  async function readiness(): Promise<Reply> {
    await Promise.all([...observers.values()].flatMap((observer) => observer.refresh() ?? []))
    const sources = [...observers.values()].flatMap((observer) => observer.sources())
    const answered = sources.filter((source) => source.hasAnswered).length
    if (answered === sources.length) return { status: 200, headers: UNCACHED, body: '{"status":"ready"}' }
    const message = `[function] expected an answer of all ${sources.length} sources, got ${answered}`
    throw problem('not_ready', message)
  }

  function refuse(c: Call): Reply {
    const allowed = METHODS.filter((method) => app.router.match(method, c.req.path)[0].length > 0)
    if (allowed.length === 0) throw problem('not_found', '[function] expected a path of /openapi.json, got another')
    const message = `[function] expected ${allowed.join(' or ')} here, got another method`
    const reply = problemReply(problem('method_not_allowed', message))
    return { ...reply, headers: { ...reply.headers, Allow: allowed.join(', ') } }
  }

  app.get('/v1/topologies', (c) => answer(c, () => listTopologies(c)))
  app.get('/v1/topologies/:topology/members', (c) => answer(c, () => listMembers(c)))
  app.post('/v1/topologies/:topology/plan', (c) => answer(c, () => makePlan(c)))
  app.get('/healthz', (c) => answer(c, () => ({ status: 200, headers: UNCACHED, body: '{"status":"ok"}' })))
  if (options.readyz === true) app.get('/readyz', (c) => answer(c, readiness))
  if (options.openapi !== undefined) {
    const body = JSON.stringify(options.openapi)
    app.get('/openapi.json', (c) => answer(c, () => ({ status: 200, headers: JSON_TYPE, body })))
  }
  app.notFound((c) => answer(c, () => refuse(c)))
  return app
}

/** Goes on at once where there is nothing to wait for: on the way of most calls, promises alone would cost a tenth. */
function after<Value, Result>(
  value: Value | Promise<Value>,
  proceed: (value: Value) => Result | Promise<Result>,
): Result | Promise<Result> {
  return value instanceof Promise ? value.then(proceed) : proceed(value)
}

/** A topology that this host can never answer is refused at the start, where somebody looks. */
function requireServable(topology: string, { sources }: TopologyConfig, loaders: SourceLoaders): void {
  for (const { id, kind, options } of sources) {
    const path = `topologies.${topology}: source ${id}`
    if (!Object.hasOwn(loaders, kind)) {
      const kinds = Object.keys(loaders).join(', ')
      throw new RollcallError(
        'config',
        `[config] ${path}: expected a kind that is asked from here (${kinds}), got ${kind}`,
      )
    }
    if (kind === 'dns' && options.basename === undefined) {
      const message = `[config] ${path}: expected basename, got none: a function has no node name to take it from`
      throw new RollcallError('config', message)
    }
  }
}

function noAnswerYet(observer: Observer): RollcallError {
  const message = '[function] expected an answer of a source, got none yet: /v1/topologies and the log say which fail'
  return problem('no_answer_yet', message, observer.retryAfterMs())
}

function agesOf(view: View, time: number): Record<string, string> {
  const ageMs = Math.max(0, time - view.at)
  return { Age: String(Math.floor(ageMs / 1_000)), 'Rollcall-Age-Ms': String(ageMs) }
}

/** Whether an `If-None-Match` names the view, by the weak comparison of RFC 9110, section 13.1.2. */
function names(ifNoneMatch: string | undefined, etag: string): boolean {
  if (ifNoneMatch === undefined || ifNoneMatch === etag) return ifNoneMatch === etag
  const tags = ifNoneMatch.split(',').map((tag) => tag.trim())
  return tags.some((tag) => tag === '*' || tag === etag || `W/${tag}` === etag)
}
