import type { Hono } from 'hono'
import type { Bindings } from './app.ts'
import { createEdgeApp, type Env } from './edge.ts'
import { edgeDnsSource } from './resolvers/edge-dns.ts'
import { staticSource } from './resolvers/static.ts'

// Named one by one: a bundler inlines the map of all sources, and with it every vendor's client.
const loaders = { static: async () => staticSource, dns: async () => edgeDnsSource }

interface Execution {
  waitUntil(promise: Promise<unknown>): void
}

// One for the life of the isolate: it holds what the callers share of each answer.
let app: Hono<{ Bindings: Bindings }> | undefined

/** The Cloudflare Worker. Its config is the variable `ROLLCALL_CONFIG` (wrangler.toml has an example), its DNS goes over HTTPS. */
export default {
  fetch(request: Request, env: Env, execution: Execution): Response | Promise<Response> {
    app ??= createEdgeApp(env, { loaders })
    // An ask belongs to the request that began it: without this it ends with that caller, and others wait for it in vain.
    return app.fetch(request, { waitUntil: (ask) => execution.waitUntil(ask) })
  },
}
