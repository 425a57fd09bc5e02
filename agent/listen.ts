import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { describeError, RollcallError } from '../core/error.ts'
import { isLoopback } from '../core/node.ts'
import type { Plan } from '../core/plan.ts'
import type { Agent } from './agent.ts'

/** What is told about an agent. */
export interface HealthView {
  plan(): Plan | undefined
  links(): ReadonlySet<string>
  /** What keeps it from being ready; nothing when it is. */
  missing(): string[]
  on: Agent['on']
  leave: Agent['leave']
}

interface Answer {
  readonly status: number
  readonly type: string
  readonly body: string
}

// A probe is one short request; whoever needs longer holds a connection for nothing.
const REQUEST_TIMEOUT_MS = 5_000

/**
 * Serves /healthz, /readyz, /metrics and /v1/plan (the last plan beside the `links`) on `host:port` until `signal`; `closed`
 * resolves when it has ended.
 * Bound to loopback it refuses a foreign Host: the page of another site may call here by a name that resolves to 127.0.0.1.
 * POST /v1/leave takes the node out of the mesh (`rollcall leave` asks for it); from this machine only, and never from a page.
 * Throws `port_in_use` or `listen`.
 */
export async function serveHealth(
  listen: string,
  { view, signal }: { view: HealthView; signal: AbortSignal },
): Promise<{ url: string; closed: Promise<void> }> {
  const { metrics, off } = await createMetrics(view)
  const [, bracketed, plain, port = ''] = /^(?:\[(.+)\]|([^:]+)):(\d+)$/.exec(listen) ?? []
  const host = bracketed ?? plain
  const routes: Record<string, () => Answer | Promise<Answer>> = {
    '/healthz': () => json(200, { status: 'ok' }),
    '/readyz': () => readiness(view.missing()),
    '/metrics': metrics,
    '/v1/plan': () => planOf(view),
  }

  async function leave(request: IncomingMessage): Promise<Answer> {
    const isLocal = isLoopback((request.socket.remoteAddress ?? '').replace(/^::ffff:/, ''))
    if (!isLocal || request.headers.origin !== undefined) {
      return problem(403, 'caller_forbidden', 'expected a program on this machine to ask for it, got another')
    }
    try {
      await view.leave()
      return json(200, { status: 'left' })
    } catch (error) {
      const { code, message } = describeError(error)
      return problem(503, code, `expected to leave the mesh, got ${message}`)
    }
  }

  async function answer(request: IncomingMessage): Promise<Answer> {
    const asked = request.headers.host ?? ''
    if (isLoopback(host ?? '') && !isLoopback(asked.replace(/:\d+$/, ''))) {
      return problem(
        403,
        'host_forbidden',
        'expected a Host of this machine (localhost, 127.0.0.1, [::1]), got another',
      )
    }
    const path = request.url?.split('?', 1)[0] ?? ''
    if (path === '/v1/leave' && request.method === 'POST') return await leave(request)
    const route = Object.hasOwn(routes, path) ? routes[path] : undefined
    if (route === undefined)
      return problem(404, 'not_found', `expected ${Object.keys(routes).join(', ')}, got another path`)
    if (request.method === 'GET' || request.method === 'HEAD') return await route()
    return problem(405, 'method_not_allowed', 'expected GET, got another method')
  }

  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
    answer(request)
      .catch((error: unknown) => problem(500, 'internal', error instanceof Error ? error.message : String(error)))
      .then(
        (given) => send(response, given),
        () => response.destroy(),
      )
  })
  await bind(server, { listen, host, port: Number(port) })
  const closed = new Promise<void>((resolve) => {
    const close = () => {
      off()
      server.close(() => resolve())
      server.closeAllConnections()
    }
    signal.addEventListener('abort', close, { once: true })
    if (signal.aborted) close()
  })
  const address = server.address()
  const taken = typeof address === 'object' ? address?.port : port
  return { url: `http://${bracketed === undefined ? host : `[${host}]`}:${taken}`, closed }
}

function bind(
  server: Server,
  { listen, host, port }: { listen: string; host: string | undefined; port: number },
): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const [code, advice] =
        cause.code === 'EADDRINUSE'
          ? ['port_in_use', 'end the other program, or give agent.listen another port']
          : ['listen', 'agent.listen must be an address of this machine']
      reject(
        new RollcallError(code, `[agent] expected to listen on ${listen}, got ${cause.code}: ${advice}`, { cause }),
      )
    })
    server.listen(port, host, resolve)
  })
}

function send(response: ServerResponse, { status, type, body }: Answer): void {
  const headers = { 'Content-Type': type, 'Cache-Control': 'no-store', 'Content-Length': Buffer.byteLength(body) }
  response.writeHead(status, headers).end(response.req.method === 'HEAD' ? undefined : body)
}

function json(status: number, document: object, type = 'application/json'): Answer {
  return { status, type, body: JSON.stringify(document) }
}

function problem(status: number, code: string, detail: string, more: object = {}): Answer {
  const title = code.replaceAll('_', ' ')
  return json(
    status,
    { type: 'about:blank', title, status, code, detail: `[agent] ${detail}`, ...more },
    'application/problem+json',
  )
}

function readiness(missing: string[]): Answer {
  if (missing.length === 0) return json(200, { status: 'ready' })
  return problem(503, 'not_ready', `expected every topology to be formed, got ${missing.join(', ')}`, { missing })
}

function planOf(view: HealthView): Answer {
  const plan = view.plan()
  if (plan === undefined) return problem(503, 'no_plan_yet', 'expected a plan, got none yet: the first is under way')
  // The state is long, and says nothing that a person asks for.
  const { state: _state, ...told } = plan
  return json(200, { links: [...view.links()].sort(), ...told })
}

async function createMetrics(view: HealthView): Promise<{ metrics: () => Promise<Answer>; off: () => void }> {
  const { Counter, Gauge, Registry } = await import('prom-client')
  const registry = new Registry()
  const registers = [registry]

  function gauge<Label extends string>(
    name: string,
    help: string,
    labelNames: Label[],
    collect: (plan: Plan) => [Record<Label, string>, number][],
  ): void {
    const made = new Gauge({ name: `rollcall_${name}`, help, labelNames, registers, collect: refresh })
    function refresh(): void {
      const plan = view.plan()
      made.reset()
      for (const [labels, value] of plan === undefined ? [] : collect(plan)) made.set(labels, value)
    }
  }
  function perTopology(value: (report: Plan['topologies'][string]) => number) {
    return ({ topologies }: Plan) =>
      Object.entries(topologies).map(([topology, report]): [{ topology: string }, number] => [
        { topology },
        value(report),
      ])
  }
  function perSource(value: (report: Plan['topologies'][string]['sources'][string]) => number | undefined) {
    return ({ topologies }: Plan) =>
      Object.entries(topologies).flatMap(([topology, { sources }]) =>
        Object.entries(sources).flatMap(([source, report]): [{ topology: string; source: string }, number][] => {
          const known = value(report)
          return known === undefined ? [] : [[{ topology, source }, known]]
        }),
      )
  }

  const source = ['topology' as const, 'source' as const]
  gauge('links', 'Nodes that are linked now', [], () => [[{}, view.links().size]])
  gauge(
    'formed',
    '1 when the topology is formed',
    ['topology'],
    perTopology(({ formed }) => Number(formed)),
  )
  gauge(
    'guard',
    'Members that the guard keeps from being removed',
    ['topology'],
    perTopology(({ guard }) => guard?.absent ?? 0),
  )
  gauge(
    'source_members',
    'Members that the source knows',
    source,
    perSource(({ members }) => members),
  )
  gauge(
    'source_up',
    '1 when the last look gave an answer',
    source,
    perSource(({ outcome }) => outcome && Number(outcome !== 'failed')),
  )
  gauge(
    'source_asked_seconds',
    'When the source itself was asked last, Unix time',
    source,
    perSource(({ at }) => at && at / 1_000),
  )
  gauge(
    'source_answered_seconds',
    'When the source answered last, Unix time: while it fails, what it says is as old as that',
    source,
    perSource(
      ({ outcome, at, staleSince = outcome === 'failed' ? undefined : at }) => staleSince && staleSince / 1_000,
    ),
  )
  gauge('held', 'Nodes that are neither dialled nor cut now, by reason', ['reason'], ({ hold }) => {
    const held = Map.groupBy(hold, ({ reason }) => reason)
    return [...held].map(([reason, nodes]) => [{ reason }, nodes.length])
  })
  const counter = new Counter({
    name: 'rollcall_events_total',
    help: 'Events by type',
    labelNames: ['type'],
    registers,
  })
  const off = view.on('*', ({ type }) => counter.inc({ type }))
  return { metrics: async () => ({ status: 200, type: registry.contentType, body: await registry.metrics() }), off }
}
