import type { StoreOptions, Stores } from './store.ts'

/** The stores of Node, loaded on first use. */
export const stores = {
  memory: async (options: StoreOptions) => await (await import('./memory.ts')).openMemoryStore(options),
  dynamodb: async (options: StoreOptions) => await (await import('./dynamodb.ts')).openDynamodbStore(options),
} satisfies Stores
