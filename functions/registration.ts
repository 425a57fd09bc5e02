import type { Hono } from 'hono'
import type { TopologyConfig } from '../core/config.ts'
import { parseDuration } from '../core/duration.ts'
import { RollcallError } from '../core/error.ts'
import type { AppOptions, Bindings, Call, Owner } from './app.ts'
import type { SourceLoaders } from './asker.ts'
import type { Observer } from './observer.ts'
import { problem, type Reply } from './problem.ts'
import { createRegistryRoutes, type RegistryParts } from './registry-routes.ts'
import { createRegistry, type Registry } from './resolvers/registry.ts'
import type { StoreOptions } from './stores/store.ts'
import { isNamed } from './view.ts'
import { createWaiters, type Waiters } from './waiters.ts'

/** What an app does beside reading: nodes register, callers wait for a change, and a topology may have an owner elsewhere. */
export interface Registration {
  /** The loader of a topology's registry, if it has one. Throws `config` where this host cannot keep its leases. */
  loadersFor(topology: string, config: TopologyConfig): SourceLoaders
  /** Waits for another view than the caller has, for as long as it says; gives the header that says why not. */
  waited(c: Call, observer: Observer): object | undefined | Promise<undefined>
  /** Call it before any other route: what has an owner is not answered here. */
  addRoutes(app: Hono<{ Bindings: Bindings }>, parts: RouteParts): void
}

interface RouteParts extends Omit<RegistryParts, 'registries'> {
  answering: (handle: (c: Call) => Reply | Promise<Reply>) => (c: Call) => Response | Promise<Response>
}

const ALL_OF_ONE = '/v1/topologies/:topology/*'
const ONE_MEMBER = '/v1/topologies/:topology/members/:node'
// Well below the minute after which most proxies and load balancers give up on an answer.
const MAX_WAIT_MS = 30_000
const UNWAITED = { 'Rollcall-Wait': 'no' }

/** Makes the part of an app that deals with its registries, its owners and those who wait. */
export function createRegistration(
  { stores = {}, waits, elsewhere }: Pick<AppOptions, 'stores' | 'waits' | 'elsewhere'>,
  context: StoreOptions['context'],
): Registration {
  const registries = new Map<string, Registry>()
  const owners = new Map<string, Owner>()
  const waiters = new Map<Observer, Waiters>()

  function waitersOf(observer: Observer, ending: AbortSignal): Waiters {
    const made = waiters.get(observer) ?? createWaiters(observer, ending)
    waiters.set(observer, made)
    return made
  }

  return {
    loadersFor(topology, config) {
      const registry = createRegistry({ topology, config, stores, context })
      const owner = elsewhere?.(topology, config)
      if (owner !== undefined) owners.set(topology, owner)
      if (registry === undefined) return {}
      registries.set(topology, registry)
      return { registry: async () => registry.source }
    },

    waited(c, observer) {
      const wait = c.req.query('wait')
      if (wait === undefined) return undefined
      const ms = parseDuration(wait)
      if (ms === undefined) throw problem('bad_query', 'function', '?wait= with a duration like 25s, got another text')
      if (waits === undefined) return UNWAITED
      const etag = observer.view()?.etag
      if (etag === undefined || !isNamed(etag, c.req.header('if-none-match'))) return undefined
      const options = { ms: Math.min(ms, MAX_WAIT_MS), signal: c.req.raw.signal }
      return waitersOf(observer, waits).wait(etag, options) ?? UNWAITED
    },

    addRoutes(app, { answering, ...parts }) {
      if (owners.size > 0) {
        app.use(ALL_OF_ONE, async (c, next) => {
          const owner = owners.get(c.req.param('topology'))
          return owner === undefined ? await next() : await handOver(c, owner, answering)
        })
      }
      const { register, leave } = createRegistryRoutes({ registries, ...parts })
      app.put(ONE_MEMBER, answering(register))
      app.delete(ONE_MEMBER, answering(leave))
    },
  }
}

/** The owner logs the request itself, unless it never got it. */
async function handOver(c: Call, owner: Owner, answering: RouteParts['answering']): Promise<Response> {
  try {
    return await owner(c.req.raw)
  } catch (cause) {
    const message = '[function] expected the owner of this topology to answer, got an error: the log has it'
    return await answering(() => {
      throw new RollcallError('store_unavailable', message, { cause })
    })(c)
  }
}
