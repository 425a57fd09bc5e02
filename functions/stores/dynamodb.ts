import { setTimeout as sleep } from 'node:timers/promises'
import * as z from 'zod/mini'
import { describeError, RollcallError } from '../../core/error.ts'
import { excerpt } from '../../core/excerpt.ts'
import { hash32 } from '../../core/hash.ts'
import { type Lease, type LeaseChange, type RegistryClock, startClock } from '../../core/lease.ts'
import { memberSchema } from '../../core/member.ts'
import type {
  AttributeValue,
  GetItemCommandInput,
  PutItemCommandInput,
  QueryCommandInput,
  TransactWriteItemsCommandInput,
} from '../aws/dynamodb-client.ts'
import { type AwsCall, type AwsConfig, createAwsService } from '../aws/service.ts'
import type { OpenStore } from './store.ts'

type Item = Record<string, AttributeValue>
type Abort = { abortSignal: AbortSignal }
type Client = Awaited<ReturnType<typeof open>>

/** One row as it is, and what it means. */
interface Row<Value> {
  readonly text: string | undefined
  readonly value: Value | undefined
}

// Beside the nodes of its topology; no node has a name without an @.
const CLOCK = '#clock'
// As long as an agent waits for an answer to its PUT.
const TIMEOUT_MS = 5_000
// Each waits twice as long as the one before: together 0.6 s, in which hundreds can write one after another.
const ATTEMPTS = 7
const FIRST_WAIT_MS = 10
// The clock says only when the last write was, to a tenth of a lease: every writer at once at one row would be in each other's way.
const CLOCK_STEP = 0.1
// When DynamoDB may delete a lease that has ended, s. Outages extend leases: no less than several of those.
const KEEP_S = 3_600
// Of an attempt that another writer was faster than.
const CONFLICT = /^(ConditionalCheckFailed|TransactionCanceled|TransactionConflict|TransactionInProgress)Exception$/

const clockSchema = z.object({ since: z.number(), lastWriteAt: z.number(), extendedMs: z.number() })
const leaseSchema = z.object({
  member: z.extend(memberSchema, { id: z.string() }),
  ttlMs: z.number(),
  expiresAt: z.number(),
  extendedMs: z.number(),
  left: z.optional(z.literal(true)),
})

/**
 * Keeps the leases in a table of DynamoDB, for any number of instances: an item for each node and one for the clock of the topology.
 * The time is the instance's own. Needs the permissions dynamodb:Query, :GetItem and :PutItem on the table. `read` rejects with the
 * codes of every source in AWS, `change` with `store_unavailable`.
 */
export const openDynamodbStore: OpenStore = async ({ topology, options, context }) => {
  const { table: TableName = '', region, endpoint, ttl: ttlMs } = options
  const { now, log } = context
  const service = createAwsService({
    part: 'registry',
    packageName: '@aws-sdk/client-dynamodb',
    variable: 'DYNAMODB',
    env: process.env,
    open,
  })
  const call = <Output>(asked: AwsCall<Client, Output>, signal: AbortSignal) =>
    service(asked, { region, endpoint, timeout: TIMEOUT_MS }, { ...context, source: 'registry', signal })
  const keyOf = (node: string) => ({ topology: { S: topology }, node: { S: node } })

  async function get<Value>(node: string, schema: z.ZodMiniType<Value>, signal: AbortSignal): Promise<Row<Value>> {
    const question = { TableName, Key: keyOf(node), ConsistentRead: true }
    const { Item } = await call({ operation: 'GetItem', send: (client, abort) => client.get(question, abort) }, signal)
    return readRow(Item, schema)
  }

  function readRow<Value>(item: Item | undefined, schema: z.ZodMiniType<Value>): Row<Value> {
    const text = item?.['value']?.S
    if (text === undefined) return { text, value: undefined }
    const value = schema.safeParse(parseJson(text)).data
    // What cannot be read is as if it were not there, and the next write to it replaces it.
    if (value === undefined) log.warn({ topology, node: item?.['node']?.S, got: excerpt(text) }, 'not a lease, skipped')
    return { text, value }
  }

  function putOf(node: string, value: Lease | RegistryClock, { text: before, expires }: PutOptions) {
    const unchanged =
      before === undefined
        ? { ConditionExpression: 'attribute_not_exists(#value)' }
        : { ConditionExpression: '#value = :before', ExpressionAttributeValues: { ':before': { S: before } } }
    const Item = {
      ...keyOf(node),
      value: { S: JSON.stringify(value) },
      ...(expires !== undefined && { expires: { N: String(expires) } }),
    }
    return { TableName, Item, ExpressionAttributeNames: { '#value': 'value' }, ...unchanged }
  }

  async function attempt(
    node: string,
    decide: (current: Lease | undefined, clock: RegistryClock) => LeaseChange,
    signal: AbortSignal,
  ): Promise<LeaseChange> {
    const [lease, clock] = await Promise.all([get(node, leaseSchema, signal), get(CLOCK, clockSchema, signal)])
    const change = decide(lease.value as Lease | undefined, clock.value ?? startClock(now()))
    if (change.write === undefined) return change
    const expires = Math.ceil(change.write.lease.expiresAt / 1_000) + KEEP_S
    const put = putOf(node, change.write.lease, { text: lease.text, expires })
    if (!isClockDue(clock.value, change.write.clock, ttlMs)) {
      await call({ operation: 'PutItem', send: (client, abort) => client.put(put, abort) }, signal)
      return change
    }
    const both = { TransactItems: [{ Put: put }, { Put: putOf(CLOCK, change.write.clock, { text: clock.text }) }] }
    await call({ operation: 'TransactWriteItems', send: (client, abort) => client.transact(both, abort) }, signal)
    return change
  }

  return {
    async read(signal) {
      const leases: Lease[] = []
      let clock: RegistryClock | undefined
      let ExclusiveStartKey: Item | undefined
      do {
        const question = {
          TableName,
          KeyConditionExpression: 'topology = :topology',
          ExpressionAttributeValues: { ':topology': { S: topology } },
          ConsistentRead: true,
          ...(ExclusiveStartKey && { ExclusiveStartKey }),
        }
        const { Items = [], LastEvaluatedKey } = await call(
          { operation: 'Query', send: (client, abort) => client.query(question, abort) },
          signal,
        )
        for (const item of Items) {
          if (item['node']?.S === CLOCK) clock = readRow(item, clockSchema).value
          else leases.push(...([readRow(item, leaseSchema).value ?? []].flat() as Lease[]))
        }
        ExclusiveStartKey = LastEvaluatedKey
      } while (ExclusiveStartKey !== undefined)
      return { clock: clock ?? startClock(now()), leases }
    },

    async change(node, decide) {
      const signal = AbortSignal.timeout(TIMEOUT_MS)
      try {
        for (let tried = 1; ; tried++) {
          try {
            return await attempt(node, decide, signal)
          } catch (error) {
            if (!isPassing(error) || tried === ATTEMPTS) throw error
            const spread = 0.5 + hash32(`${node} ${tried}`) / 2 ** 32
            await sleep(FIRST_WAIT_MS * 2 ** (tried - 1) * spread, undefined, { signal })
          }
        }
      } catch (error) {
        if (error instanceof RollcallError && (error.code === 'left' || error.code === 'replaced')) throw error
        throw unavailable(error)
      }
    },
  }
}

async function open(config: AwsConfig) {
  const sdk = await import('../aws/dynamodb-client.ts')
  const client = new sdk.DynamoDBClient({ ...config })
  return {
    config: client.config,
    get: (input: GetItemCommandInput, abort: Abort) => client.send(new sdk.GetItemCommand(input), abort),
    put: (input: PutItemCommandInput, abort: Abort) => client.send(new sdk.PutItemCommand(input), abort),
    query: (input: QueryCommandInput, abort: Abort) => client.send(new sdk.QueryCommand(input), abort),
    transact: (input: TransactWriteItemsCommandInput, abort: Abort) =>
      client.send(new sdk.TransactWriteItemsCommand(input), abort),
  }
}

interface PutOptions {
  /** What stands there, which must not have changed meanwhile. */
  readonly text: string | undefined
  readonly expires?: number
}

function isClockDue(before: RegistryClock | undefined, after: RegistryClock, ttlMs: number): boolean {
  if (before?.since !== after.since || before.extendedMs !== after.extendedMs) return true
  return after.lastWriteAt - before.lastWriteAt >= ttlMs * CLOCK_STEP
}

/** Another writer was faster, or DynamoDB asks to be asked again: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html */
function isPassing(error: unknown): boolean {
  if (!(error instanceof RollcallError)) return false
  return error.code.startsWith('http_5') || (error.cause instanceof Error && CONFLICT.test(error.cause.name))
}

function unavailable(cause: unknown): RollcallError {
  const message = '[registry] expected DynamoDB to take a lease, got a refusal: the log says which'
  return new RollcallError('store_unavailable', message, { cause, retryAfterMs: describeError(cause).retryAfterMs })
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
