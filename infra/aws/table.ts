/** How a registry's `table` names the one that the stack makes and names itself. */
export const OWN_TABLE = '${ROLLCALL_TABLE}'

/** What functions/stores/dynamodb.ts keeps its leases in, and what it must be allowed: a transaction of puts needs what they need. */
export const TABLE = {
  partitionKey: 'topology',
  sortKey: 'node',
  /** Seconds since the Unix epoch. */
  expiry: 'expires',
  actions: ['dynamodb:GetItem', 'dynamodb:PutItem', 'dynamodb:Query'],
} as const
