import * as z from 'zod/mini'
import type { AuthEntry } from '../core/config.ts'
import { memberSchema } from '../core/member.ts'
import { basenameOf, hostOf, isNodeName, type NodeName, nodeName } from '../core/node.ts'
import type { Call, Seen } from './app.ts'
import { authorize } from './auth.ts'
import { readJsonBody } from './json-body.ts'
import type { Observer } from './observer.ts'
import { problem, type Reply } from './problem.ts'
import type { Registered, Registry } from './resolvers/registry.ts'

export interface RegistryParts {
  registries: ReadonlyMap<string, Registry>
  /** The caller and what it asks about, once both are known to go together. */
  admitted: (c: Call) => Promise<{ caller: AuthEntry; observer: Observer }>
  /** What is known by now, its sources asked where that is due. */
  seen: (c: Call, observer: Observer) => Promise<Seen>
}

// Made by each start of a node. In a log or a query it must stay what it is.
const idSchema = z
  .string()
  .check(z.regex(/^[!-~]{1,255}$/, { error: 'expected 1 to 255 printable ASCII characters without a space' }))

/** The body of `PUT /v1/topologies/{t}/members/{node}`. */
export const registrationSchema = z.object({
  id: idSchema,
  ttlMs: z.optional(z.number().check(z.gt(0))),
  status: z.optional(memberSchema.shape.status),
  address: memberSchema.shape.address,
  meta: memberSchema.shape.meta,
})

// An id, an address and some labels. 10000 members of this size are still an answer that a client reads.
const BODY = { part: 'registry', shape: '{ id, ttlMs?, status?, address?, meta? }', maxBytes: 4_096 }

const UNCACHED = { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' }

/** The answers to those who say something of themselves. */
export function createRegistryRoutes({ registries, admitted, seen }: RegistryParts) {
  async function change(c: Call, apply: (registry: Registry, node: NodeName) => Promise<Registered>): Promise<Reply> {
    const { caller, observer } = await admitted(c)
    const registry = registries.get(observer.topology)
    if (registry === undefined) {
      throw problem('no_registry', 'registry', 'a topology with a registry among its sources, got another')
    }
    const node = requireNode(c.req.param('node') ?? '')
    authorize(caller, { verb: 'register', node })
    const { ttlMs, isNews } = await apply(registry, node)
    if (isNews) observer.expire(registry.id)
    const { revision, render, headers } = await seen(c, observer)
    if (!wantsRepresentation(c.req.header('prefer'))) {
      return { status: 200, headers: UNCACHED, body: JSON.stringify({ ttlMs, revision }) }
    }
    const location = `/v1/topologies/${encodeURIComponent(observer.topology)}/members`
    // The ETag is that of the members, which are elsewhere: RFC 9110, section 8.7.
    const representation = { 'Content-Location': location, 'Preference-Applied': 'return=representation' }
    return {
      status: 200,
      headers: { ...headers, ...UNCACHED, ...representation },
      body: `{"ttlMs":${ttlMs},${render().slice(1)}`,
    }
  }

  return {
    register: (c: Call) =>
      change(c, async (registry, node) => {
        const given = await readJsonBody(c.req.raw, { ...BODY, schema: registrationSchema })
        return await registry.claim({ ...given, node })
      }),

    leave: (c: Call) =>
      change(c, async (registry, node) => {
        const id = idSchema.safeParse(c.req.query('id'))
        if (!id.success) throw problem('bad_query', 'registry', '?id= with the id that registered, got none')
        return await registry.release({ node, id: id.data })
      }),
  }
}

/** As it stands in every other source: an IPv6 host in RFC 5952 form, so that one node has one name. */
function requireNode(text: string): NodeName {
  if (isNodeName(text)) {
    const node = nodeName(basenameOf(text), hostOf(text))
    if (isNodeName(node)) return node
  }
  throw problem('bad_node', 'registry', 'a node name like app@10.0.0.1 in the path, got another text')
}

/** RFC 7240, section 4.2. */
function wantsRepresentation(prefer = ''): boolean {
  return prefer.split(',').some((preference) => preference.trim().toLowerCase() === 'return=representation')
}
