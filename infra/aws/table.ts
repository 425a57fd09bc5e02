/** How a registry's `table` names the one that the stack makes and names itself. */
export const OWN_TABLE = '${ROLLCALL_TABLE}'

/** What functions/stores/dynamodb.ts keeps its leases in, and the calls that it makes. */
export const TABLE = {
  partitionKey: 'topology',
  sortKey: 'node',
  /** Seconds since the Unix epoch. */
  expiry: 'ttl',
  actions: ['dynamodb:Query', 'dynamodb:TransactWriteItems'],
} as const
