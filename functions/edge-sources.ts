import type { SourceLoaders } from './asker.ts'
import { edgeDnsSource } from './resolvers/edge-dns.ts'
import { staticSource } from './resolvers/static.ts'

/** The sources of the Worker, named one by one: a bundler inlines the map of all sources, and with it every vendor's client. */
export const edgeSources: SourceLoaders = { static: async () => staticSource, dns: async () => edgeDnsSource }
