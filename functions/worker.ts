import type { Hono } from 'hono'
import type { Bindings } from './app.ts'
import { createEdgeApp, type Env } from './edge.ts'
import { edgeSources } from './edge-sources.ts'
import { ownerOf } from './registry-object.ts'

export { RegistryObject } from './registry-object.ts'

interface Execution {
  waitUntil(promise: Promise<unknown>): void
}

// One for the life of the isolate: it holds what the callers share of each answer.
let app: Hono<{ Bindings: Bindings }> | undefined

/**
 * The Cloudflare Worker. Its config is the variable `ROLLCALL_CONFIG` (wrangler.toml has an example), its DNS goes over HTTPS, and a
 * topology with a registry is answered by the Durable Object that owns it.
 */
export default {
  fetch(request: Request, env: Env, execution: Execution): Response | Promise<Response> {
    app ??= createEdgeApp(env, {
      loaders: edgeSources,
      stores: { 'durable-object': notHere },
      elsewhere: (topology, config) => ownerOf(topology, config, env),
    })
    // An ask belongs to the request that began it: without this it ends with that caller, and others wait for it in vain.
    return app.fetch(request, { waitUntil: (ask) => execution.waitUntil(ask) })
  },
}

function notHere(): never {
  throw new TypeError('the leases are in the object that owns the topology')
}
