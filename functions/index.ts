// The package entry `rollcall/functions`: what it takes to serve topologies from a host of one's own.
export { type AppOptions, type Bindings, createApp } from './app.ts'
export { createObserver, type Observer, type ObserverOptions, type SourceLoaders, type View } from './observer.ts'
export { observe, type Log, type Source, type SourceContext } from './resolvers/source.ts'
