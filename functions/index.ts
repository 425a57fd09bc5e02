// The package entry `rollcall/functions`: what it takes to serve topologies from a host of one's own.
export { type AppOptions, type Bindings, createApp, type Route } from './app.ts'
export type { SourceLoaders } from './asker.ts'
export { description, readiness } from './host-routes.ts'
export { createObserver, type Observer, type ObserverOptions } from './observer.ts'
export type { View } from './view.ts'
export { observe, type Log, type Source, type SourceContext } from './resolvers/source.ts'
