import * as z from 'zod/mini'
import { nodeNameSchema, portNumber } from './member.ts'
import { basenameOf, hostOf, isNodeName, nodeName } from './node.ts'

/** Anything but the empty text. */
export const text = z.string().check(z.minLength(1))
/** What a source is called in logs and plans. */
export const name = z.optional(text)
/** The part before the `@` of the names that a source makes. */
export const basename = z.optional(
  z
    .string()
    .check(
      z.refine((given) => isNodeName(`${given}@host`), { error: 'expected the part of a name before its @, like app' }),
    ),
)
/** A port as a number, or as digits: `${PORT}` is text once it is replaced. */
export const port = z.pipe(
  z.transform((value) => (typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value)),
  portNumber,
)
/** A node name, its IPv6 host in RFC 5952 form after parsing. */
export const node = z.pipe(
  nodeNameSchema,
  z.transform((value) => nodeName(basenameOf(value), hostOf(value))),
)
