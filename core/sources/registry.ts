import * as z from 'zod/mini'
import { durationSchema } from '../duration.ts'
import { name, text } from '../setting.ts'
import { baseUrl } from './base-url.ts'

/** Options of the `registry` source after parsing; `ttl` in ms. */
export type RegistryOptions = z.infer<typeof registryOptionsSchema>

/** Options of the `registry` source: the nodes register themselves with the function. */
export const registryOptionsSchema = z
  .strictObject({
    name,
    /** How long a lease lasts, ms: three renewals of 10 s, so that two may be lost. At least 1 s, below which a pause of a runtime ends it. */
    ttl: z._default(durationSchema.check(z.gte(1_000, { error: 'expected a lease of at least 1s' })), 30_000),
    /** Where the leases are kept: in the process, in a Durable Object (Workers), in a table of DynamoDB (Lambda, or several processes). */
    store: z._default(z.enum(['memory', 'durable-object', 'dynamodb']), 'memory'),
    /** With a partition key `topology` and a sort key `node`, both text; its TTL attribute is `expires`. */
    table: z.optional(text),
    /** AWS_REGION by default. */
    region: z.optional(text),
    /** Asked instead of AWS: a VPC endpoint, or what speaks like AWS. */
    endpoint: z.optional(baseUrl),
  })
  .check(
    z.refine(({ store, table }) => (store === 'dynamodb') === (table !== undefined), {
      error: 'expected table beside store: dynamodb, and only there',
    }),
    z.refine(({ store, region, endpoint }) => store === 'dynamodb' || (region ?? endpoint) === undefined, {
      error: 'expected region and endpoint only beside store: dynamodb',
    }),
  )
