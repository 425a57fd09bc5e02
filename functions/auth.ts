import type { AuthEntry, Config } from '../core/config.ts'
import { matches } from '../core/pattern.ts'
import { problem } from './problem.ts'

/** What a call wants; absent parts are not asked for. */
export interface Wish {
  verb: AuthEntry['verbs'][number]
  topology?: string | undefined
  node?: string | undefined
}

/** Who calls, by the value of the `Authorization` header; throws `unauthenticated` or `auth_not_configured`. */
export type Authenticate = (authorization: string | undefined) => AuthEntry | Promise<AuthEntry>

const ANYONE: AuthEntry = {
  name: 'anyone',
  sha256: '',
  topologies: '*',
  verbs: ['read', 'plan', 'register'],
  nodes: '*',
}

// RFC 6750, section 2.1. 512: far above the 43 characters of 32 random bytes, far below what costs time to hash.
const BEARER = /^Bearer +([A-Za-z0-9._~+/-]{1,512}=*)$/i

/** Makes the check of tokens from the config's `auth`. Absent, it lets nobody in: a host that may serve without says `none`. */
export function createAuthenticate(auth: Config['auth']): Authenticate {
  if (auth === 'none') return () => ANYONE
  if (auth === undefined) return refuseAll
  const known = new Map(auth.map((entry) => [entry.sha256, entry]))

  return async (authorization = '') => {
    const token = BEARER.exec(authorization)?.[1]
    if (token === undefined)
      throw problem('unauthenticated', 'auth', 'the header Authorization: Bearer <token>, got none')
    const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(token))
    // The time of a look-up may tell of a digest, and from a digest no way leads to 32 random bytes.
    const entry = known.get(Buffer.from(digest).toString('hex'))
    if (entry === undefined)
      throw problem('unauthenticated', 'auth', 'a known token, got another: check auth in the config')
    return entry
  }
}

/** Throws `verb_forbidden`, `topology_forbidden` or `node_forbidden` unless the caller may do it. It does not say what exists. */
export function authorize(caller: AuthEntry, { verb, topology, node }: Wish): void {
  const { name, verbs, nodes } = caller
  if (!verbs.includes(verb)) throw problem('verb_forbidden', 'auth', `a token with the verb ${verb}, got ${name}'s`)
  if (topology !== undefined && !maySee(caller, topology)) {
    throw problem('topology_forbidden', 'auth', `a token for this topology, got ${name}'s`)
  }
  if (node !== undefined && !matches(nodes, node)) {
    throw problem('node_forbidden', 'auth', `a node that matches ${nodes}, the pattern of token ${name}, got another`)
  }
}

/** Whether the topology is one of the caller's. */
export function maySee(caller: AuthEntry, topology: string): boolean {
  return caller.topologies === '*' || caller.topologies.includes(topology)
}

function refuseAll(): never {
  const sentence = 'auth in the config (a list of tokens, or none to let everybody in), got nothing'
  throw problem('auth_not_configured', 'auth', sentence)
}
