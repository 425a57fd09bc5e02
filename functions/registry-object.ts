import type { Hono } from 'hono'
import { RollcallError } from '../core/error.ts'
import type { TopologyConfig } from '../core/served-config.ts'
import type { Bindings, Owner } from './app.ts'
import { createEdgeApp, type Env } from './edge.ts'
import { edgeSources } from './edge-sources.ts'
import { createObjectStore, type ObjectStorage, sweep } from './stores/durable-object.ts'

/** What of the binding in wrangler.toml is used: https://developers.cloudflare.com/durable-objects/api/namespace/ */
interface ObjectNamespace {
  idFromName(name: string): object
  get(id: object): { fetch(request: Request): Promise<Response> }
}

/**
 * The Durable Object that owns a topology whose leases are kept in one: the Worker hands it every request for that topology, and it
 * runs the same app over the same config. It is one for the whole world, so that who waits here hears of every registration.
 */
export class RegistryObject {
  readonly #storage: ObjectStorage
  readonly #app: Hono<{ Bindings: Bindings }>

  constructor({ storage }: { storage: ObjectStorage }, env: Env) {
    this.#storage = storage
    this.#app = createEdgeApp(env, {
      loaders: edgeSources,
      stores: { 'durable-object': createObjectStore(storage) },
      // Nobody is told before an object ends: who waits then asks again. Nor is an object told that a caller is gone, whose wait then
      // keeps its place to its end: https://github.com/cloudflare/workers-sdk/issues/9438
      waits: new AbortController().signal,
    })
  }

  fetch(request: Request): Response | Promise<Response> {
    return this.#app.fetch(request)
  }

  alarm(): Promise<void> {
    return sweep(this.#storage, Date.now())
  }
}

/** The object that owns a topology; none where no object keeps its leases. Throws `config` without the binding of wrangler.toml. */
export function ownerOf(topology: string, { sources }: TopologyConfig, env: Env): Owner | undefined {
  if (!sources.some(({ kind, options }) => kind === 'registry' && options.store === 'durable-object')) return undefined
  const namespace = env.REGISTRY as ObjectNamespace | undefined
  if (namespace !== undefined) return (request) => namespace.get(namespace.idFromName(topology)).fetch(request)
  const expected = 'expected the Durable Object binding REGISTRY for its registry, got none: wrangler.toml has it'
  throw new RollcallError('config', `[config] topologies.${topology}: ${expected}`)
}
