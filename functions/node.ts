import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createAdaptorServer } from '@hono/node-server'
import type { Config } from '../core/config.ts'
import { RollcallError } from '../core/error.ts'
import { isLoopback } from '../core/node.ts'
import { createApp } from './app.ts'
import { exchange, resolvConf } from './exchange.ts'
import { description, readiness } from './host-routes.ts'
import { problem } from './problem.ts'
import { resolvers } from './resolvers/index.ts'
import type { Log } from './resolvers/source.ts'
import { stores } from './stores/index.ts'

export interface ServeOptions {
  config: Config
  log: Log
  /** 8787 by default; 0 takes a free one. */
  port?: number | undefined
  /** 127.0.0.1 by default: who wants to be reached says so. Without `auth` in the config another than loopback is refused. */
  host?: string | undefined
  /** How long a request may take to come in whole: 30 s by default, above the longest ask of a source. */
  requestTimeoutMs?: number | undefined
}

/** A function that listens. */
export interface Served {
  /** With the port that was taken. */
  readonly url: string
  /** Ends it: no new calls, those under way get their answer, for at most 5 s. */
  readonly close: () => Promise<void>
}

const REQUEST_TIMEOUT_MS = 30_000
const CLOSE_TIMEOUT_MS = 5_000
const SWEEP_MS = 50

/** Serves the function on Node. Throws `auth_not_configured`, `config`, `port_in_use` or `listen`. */
export async function serve(options: ServeOptions): Promise<Served> {
  const { config, log, port = 8787, host = '127.0.0.1', requestTimeoutMs = REQUEST_TIMEOUT_MS } = options
  const isOpen = config.auth === undefined
  if (isOpen && !isLoopback(host)) {
    const message = `[serve] expected auth in the config to serve on ${host}, got none: list tokens (rollcall token makes one) or say auth: none`
    throw new RollcallError('auth_not_configured', message)
  }
  const ending = new AbortController()
  const app = createApp({
    topologies: config.topologies,
    auth: config.auth ?? 'none',
    loaders: resolvers,
    stores,
    waits: ending.signal,
    reach: { exchange, resolvConf },
    log,
    routes: { '/openapi.json': description, '/readyz': readiness },
    ...(isOpen && { admit: createHostCheck() }),
  })
  // Whoever sends more slowly holds a connection for nothing. Node looks for them only every 30 s by itself.
  const serverOptions = { requestTimeout: requestTimeoutMs, connectionsCheckingInterval: requestTimeoutMs / 10 }
  const server = createAdaptorServer({ fetch: app.fetch, serverOptions }) as Server
  await listen(server, { port, host })
  const { port: taken } = server.address() as AddressInfo
  const url = `http://${host.includes(':') ? `[${host}]` : host}:${taken}`
  log.info({ url, topologies: Object.keys(config.topologies) }, 'serving')
  return {
    url,
    close() {
      // Who waits for a change would else hold it up for as long as it waits.
      ending.abort()
      return close(server)
    },
  }
}

function listen(server: Server, { port, host }: { port: number; host: string }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const message =
        cause.code === 'EADDRINUSE'
          ? `[serve] expected port ${port} of ${host} to be free, got EADDRINUSE: end the other program or take another --port`
          : `[serve] expected to listen on port ${port} of ${host}, got ${cause.code}: --host must be an address of this machine`
      reject(new RollcallError(cause.code === 'EADDRINUSE' ? 'port_in_use' : 'listen', message, { cause }))
    })
    server.listen(port, host, resolve)
  })
}

async function close(server: Server): Promise<void> {
  const overdue = setTimeout(() => server.closeAllConnections(), CLOSE_TIMEOUT_MS)
  // A connection that falls idle after its last answer would else stay for as long as it is kept alive.
  const sweep = setInterval(() => server.closeIdleConnections(), SWEEP_MS)
  await new Promise((resolve) => {
    server.close(resolve)
  })
  clearTimeout(overdue)
  clearInterval(sweep)
}

/**
 * Without auth only this machine may call. A page of a foreign site can make a browser here do so, under a name of its
 * own that resolves to 127.0.0.1 (DNS rebinding): its requests carry that name.
 */
function createHostCheck(): (request: Request) => void {
  // Callers come back under the same name, and reading it would cost a quarter of what a 304 does here.
  let admitted: string | undefined
  return (request) => {
    const host = request.headers.get('host') ?? ''
    if (host !== admitted) refuseForeignHost(host)
    admitted = host
  }
}

function refuseForeignHost(host: string): void {
  if (isLoopback(host.replace(/:\d+$/, ''))) return
  const sentence = 'a Host of this machine (localhost, 127.0.0.1, [::1]), got another: set auth to serve others'
  throw problem('host_forbidden', 'serve', sentence)
}
