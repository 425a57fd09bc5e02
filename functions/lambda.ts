import { handle } from 'hono/aws-lambda'
import { awsSources } from '../core/aws-sources.ts'
import { servedSources } from '../core/served-config.ts'
import { createEdgeApp } from './edge.ts'
import { description } from './host-routes.ts'
import { resolvers } from './resolvers/index.ts'
import { stores } from './stores/index.ts'

// What only some configs need is loaded on first use: sockets and files alone would be a quarter of a cold start.
const reach = {
  exchange: async (server: string, packet: Uint8Array, signal: AbortSignal) =>
    await (await import('./exchange.ts')).exchange(server, packet, signal),
  resolvConf: async () => await (await import('./exchange.ts')).resolvConf(),
}

const app = createEdgeApp(process.env, {
  loaders: resolvers,
  // In the memory of one of many instances a lease would be seen by those alone who happen to meet it.
  stores: { dynamodb: stores.dynamodb },
  sources: { ...servedSources, ...awsSources },
  reach,
  patienceMs: Infinity,
  routes: { '/openapi.json': description },
})

/**
 * The AWS Lambda handler, for a function URL or an API Gateway HTTP API. Its config is the variable `ROLLCALL_CONFIG`.
 * Every ask ends before the answer that it belongs to: between two calls Lambda stops the process.
 */
export const handler = handle(app)

// What Node and Hono load only for a first request is loaded now: Lambda gives a start a whole CPU, and a call as much of one as its
// memory is of 1,769 MB. https://serverlessland.com/content/service/lambda/guides/effectively-running-java-on-serverless/init-heavy-lifting
await app.request('/healthz')
