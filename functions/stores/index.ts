import { openDynamodbStore } from './dynamodb.ts'
import { openMemoryStore } from './memory.ts'
import type { StoreOptions, Stores } from './store.ts'

/** The stores of Node. The client of DynamoDB is loaded on first use. */
export const stores = {
  memory: async (options: StoreOptions) => openMemoryStore(options),
  dynamodb: async (options: StoreOptions) => await openDynamodbStore(options),
} satisfies Stores
