import type { Stores } from './store.ts'

/** The stores of Node. */
export const stores: Stores = {
  memory: async (options) => await (await import('./memory.ts')).openMemoryStore(options),
}
