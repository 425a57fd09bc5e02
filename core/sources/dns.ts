import * as z from 'zod/mini'
import { durationSchema } from '../duration.ts'

/** Options of the `dns` source after parsing; `timeout` in ms. */
export type DnsOptions = z.infer<typeof dnsOptionsSchema>

const SERVER = /^(udp:\/\/|tcp:\/\/|https?:\/\/)[^\s]+$/

export const dnsOptionsSchema = z.strictObject({
  name: z.optional(z.string()),
  /** One name or several; names without a final dot go through the search list of resolv.conf. */
  query: z.union([z.string().check(z.minLength(1)), z.array(z.string().check(z.minLength(1))).check(z.minLength(1))]),
  types: z._default(z.array(z.enum(['A', 'AAAA', 'SRV'])).check(z.minLength(1)), ['A', 'AAAA']),
  /** The part before the `@` of the names it makes; the agent's own by default. */
  basename: z.optional(z.string().check(z.minLength(1))),
  /** `ip`: the name carries the address. `hostname`: the name a reverse look-up (A, AAAA) or the SRV target gives. */
  host: z.optional(z.enum(['ip', 'hostname'])),
  server: z.optional(
    z.string().check(z.regex(SERVER, { error: 'expected udp://host:port, tcp://host:port or https://host/dns-query' })),
  ),
  timeout: z._default(durationSchema, 5_000),
})
