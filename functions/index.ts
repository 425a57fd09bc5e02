// The package entry `rollcall/functions`: what it takes to serve topologies from a host of one's own, and to call one that serves.
export { type AppOptions, type Bindings, createApp, type Owner, type Route } from './app.ts'
export type { SourceLoaders } from './asker.ts'
export {
  type Asked,
  type CallOptions,
  type Client,
  type ClientOptions,
  createClient,
  type Listing,
  type MembersOptions,
  type PlanDocument,
  type Registered,
  type RegisterOptions,
  type Registration,
} from './client.ts'
export type { Clock } from './clock.ts'
export { description, readiness } from './host-routes.ts'
export { createObserver, type Observer, type ObserverOptions } from './observer.ts'
export type { View } from './view.ts'
export { observe, type Log, type Source, type SourceContext } from './resolvers/source.ts'
export { stores } from './stores/index.ts'
export type { Kept, LeaseStore, OpenStore, StoreOptions, Stores } from './stores/store.ts'
