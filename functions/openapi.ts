import { writeFileSync } from 'node:fs'
import * as z from 'zod/mini'
import { nodeNameSchema } from '../core/member.ts'
import {
  membersDocumentSchema,
  planDocumentSchema,
  problemSchema,
  registeredDocumentSchema,
  topologiesDocumentSchema,
} from '../core/wire.ts'
import { planRequestSchema } from './plan-request.ts'
import { PROBLEMS, type ProblemCode } from './problem.ts'
import { registrationSchema } from './registry-routes.ts'

/** The OpenAPI 3.1 document of the HTTP API, built from the schemas that the code itself uses. */
export function openapiDocument(): object {
  return {
    openapi: '3.1.0',
    info: {
      title: 'rollcall',
      version: '1',
      license: { name: 'MIT', identifier: 'MIT' },
      description: 'Who is in the mesh, and whom a node should connect to and disconnect from.',
    },
    servers: [{ url: '/' }],
    security: [{}, { token: [] }],
    paths: {
      '/v1/topologies': {
        get: {
          operationId: 'listTopologies',
          summary: 'The topologies that the token may see, their sources and the last outcome of each. Asks no source.',
          responses: { 200: json('The topologies.', 'Topologies'), ...problems(...DENIALS) },
        },
      },
      '/v1/topologies/{topology}/members': {
        get: {
          operationId: 'listMembers',
          summary: 'The members that the sources of a topology list, each source asked at most once per interval.',
          parameters: [
            TOPOLOGY,
            header('If-None-Match', 'The ETag of an earlier answer: 304 if it still holds.'),
            {
              name: 'wait',
              in: 'query',
              description:
                'How long to wait, with If-None-Match, for something else than the caller has: 25s, at most 30s. A host that cannot wait answers at once, with Rollcall-Wait: no.',
              schema: { type: 'string', pattern: '^\\d+(\\.\\d+)?(ms|s|m|h)$' },
            },
          ],
          responses: {
            200: { ...json('The members.', 'Members'), headers: { ETag, ...AGES, 'Rollcall-Wait': WAIT } },
            304: {
              description: 'Unchanged. A new observation only if the age says that a source was asked again.',
              headers: { ETag, ...AGES, 'Rollcall-Wait': WAIT },
            },
            ...problems('bad_query', ...DENIALS, 'topology_forbidden', 'unknown_topology', 'no_answer_yet'),
          },
        },
      },
      '/v1/topologies/{topology}/members/{node}': {
        put: {
          operationId: 'register',
          summary: 'Registers a node, or renews its lease: every third of it.',
          parameters: [TOPOLOGY, NODE, PREFER],
          requestBody: { required: true, content: { 'application/json': { schema: ref('Registration') } } },
          responses: {
            200: registered('The lease.'),
            ...problems('bad_body', ...REGISTRY_DENIALS, 'left', 'body_too_large', 'registry_full'),
          },
        },
        delete: {
          operationId: 'leave',
          summary: 'Takes a node out: others see it as leaving, until the lease after its own has ended.',
          parameters: [
            TOPOLOGY,
            NODE,
            PREFER,
            {
              name: 'id',
              in: 'query',
              required: true,
              description: 'That of the registration.',
              schema: { type: 'string' },
            },
          ],
          responses: {
            200: registered('It is out, or was not known.'),
            ...problems('bad_query', ...REGISTRY_DENIALS, 'replaced'),
          },
        },
      },
      '/v1/topologies/{topology}/plan': {
        post: {
          operationId: 'makePlan',
          summary: 'Whom a node should connect to and disconnect from, and why. Without state, nobody is to be cut.',
          parameters: [TOPOLOGY],
          requestBody: { required: true, content: { 'application/json': { schema: ref('PlanRequest') } } },
          responses: {
            200: { ...json('The plan. Its state belongs into the next request.', 'Plan'), headers: AGES },
            ...problems(
              'bad_body',
              'bad_state',
              ...DENIALS,
              'topology_forbidden',
              'node_forbidden',
              'unknown_topology',
              'body_too_large',
            ),
          },
        },
      },
      '/healthz': {
        get: { operationId: 'health', security: [{}], summary: 'Alive.', responses: { 200: status('ok') } },
      },
      '/readyz': {
        get: {
          operationId: 'readiness',
          security: [{}],
          summary: 'Whether every source has answered. On Node only.',
          responses: { 200: status('ready'), ...problems('not_ready') },
        },
      },
      '/openapi.json': {
        get: {
          operationId: 'openapi',
          security: [{}],
          summary: 'This document.',
          responses: {
            200: { description: 'OpenAPI 3.1.', content: { 'application/json': { schema: { type: 'object' } } } },
          },
        },
      },
    },
    components: {
      schemas: {
        Topologies: schema(topologiesDocumentSchema),
        Members: schema(membersDocumentSchema),
        PlanRequest: schema(planRequestSchema),
        Plan: schema(planDocumentSchema),
        Registration: schema(registrationSchema),
        Registered: schema(registeredDocumentSchema),
        Problem: schema(problemSchema),
      },
      securitySchemes: { token: { type: 'http', scheme: 'bearer', description: 'A token of `rollcall token`.' } },
    },
  }
}

const DENIALS: ProblemCode[] = [
  'unauthenticated',
  'verb_forbidden',
  'too_many_requests',
  'auth_not_configured',
  'config',
  'internal',
]
const REGISTRY_DENIALS: ProblemCode[] = [
  ...DENIALS,
  'bad_node',
  'topology_forbidden',
  'node_forbidden',
  'unknown_topology',
  'no_registry',
  'no_answer_yet',
  'store_unavailable',
]
const TOPOLOGY = { name: 'topology', in: 'path', required: true, schema: { type: 'string' } }
const NODE = { name: 'node', in: 'path', required: true, schema: { type: 'string', maxLength: 255 } }
const PREFER = header('Prefer', 'return=representation for the members document too, in the same object.')
const WAIT = { description: 'no: it was not waited.', schema: { const: 'no' } }
const ETag = { description: 'W/"<revision>".', schema: { type: 'string' } }
const AGES = {
  Age: { description: 'How long ago the oldest answer in it was asked for, in seconds.', schema: { type: 'integer' } },
  'Rollcall-Age-Ms': { description: 'The same in ms.', schema: { type: 'number' } },
}

function header(name: string, description: string): object {
  return { name, in: 'header', description, schema: { type: 'string' } }
}

function ref(name: string): object {
  return { $ref: `#/components/schemas/${name}` }
}

function json(description: string, name: string): object {
  return { description, content: { 'application/json': { schema: ref(name) } } }
}

/** What a change of the registry answers: with the members document in it where that was preferred. */
function registered(description: string): object {
  const either = { anyOf: [ref('Registered'), { allOf: [ref('Registered'), ref('Members')] }] }
  return {
    description,
    headers: { ETag, ...AGES, 'Preference-Applied': { schema: { const: 'return=representation' } } },
    content: { 'application/json': { schema: either } },
  }
}

function status(value: string): object {
  const properties = { status: { const: value } }
  return {
    description: value,
    content: { 'application/json': { schema: { type: 'object', properties, required: ['status'] } } },
  }
}

/** The given codes, under their status. */
function problems(...codes: ProblemCode[]): Record<string, object> {
  const byStatus = Object.groupBy(codes, (code) => PROBLEMS[code])
  return Object.fromEntries(
    Object.entries(byStatus).map(([number, group]) => [
      number,
      {
        description: `code: ${group?.join(', ')}`,
        content: { 'application/problem+json': { schema: ref('Problem') } },
      },
    ]),
  )
}

function schema(type: z.ZodMiniType): object {
  const { $schema: _, ...document } = z.toJSONSchema(type, {
    io: 'input',
    override({ zodSchema, jsonSchema }) {
      // What a refinement checks is code: said here again for whoever makes a client from this.
      if (zodSchema === nodeNameSchema) Object.assign(jsonSchema, { pattern: '^[!-?A-~]+@[!-?A-~]+$', maxLength: 255 })
    },
  })
  return document
}

// Run by itself, this writes the file that every host serves: the schema generator stays out of their bundles.
if (import.meta.main) {
  writeFileSync(new URL('public/openapi.json', import.meta.url), `${JSON.stringify(openapiDocument(), null, 2)}\n`)
}
