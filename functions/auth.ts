import type { AuthEntry, Config } from '../core/config.ts'
import { RollcallError } from '../core/error.ts'
import { matches } from '../core/pattern.ts'

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
  const known = auth.map((entry) => ({ entry, digest: bytesOf(entry.sha256) }))

  return async (authorization) => {
    const token = BEARER.exec(authorization ?? '')?.[1]
    if (token === undefined) {
      throw new RollcallError('unauthenticated', '[auth] expected the header Authorization: Bearer <token>, got none')
    }
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(token)))
    // All are compared, to the end: the time says nothing about how near a guess was.
    let found: AuthEntry | undefined
    for (const { entry, digest: expected } of known) if (isEqual(digest, expected)) found = entry
    if (found === undefined) {
      throw new RollcallError('unauthenticated', '[auth] expected a known token, got another: check auth in the config')
    }
    return found
  }
}

/** Throws `verb_forbidden`, `topology_forbidden` or `node_forbidden` unless the caller may do it. It does not say what exists. */
export function authorize(caller: AuthEntry, { verb, topology, node }: Wish): void {
  if (!caller.verbs.includes(verb)) {
    throw new RollcallError('verb_forbidden', `[auth] expected a token with the verb ${verb}, got ${caller.name}'s`)
  }
  if (topology !== undefined && !maySee(caller, topology)) {
    throw new RollcallError('topology_forbidden', `[auth] expected a token for this topology, got ${caller.name}'s`)
  }
  if (node !== undefined && !matches(caller.nodes, node)) {
    const message = `[auth] expected a node that matches ${caller.nodes}, the pattern of token ${caller.name}, got another`
    throw new RollcallError('node_forbidden', message)
  }
}

/** Whether the topology is one of the caller's. */
export function maySee(caller: AuthEntry, topology: string): boolean {
  return caller.topologies === '*' || caller.topologies.includes(topology)
}

function refuseAll(): never {
  const message = '[auth] expected auth in the config (a list of tokens, or none to let everybody in), got nothing'
  throw new RollcallError('auth_not_configured', message)
}

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], (digits) => Number.parseInt(digits, 16))
}

function isEqual(left: Uint8Array, right: Uint8Array): boolean {
  let difference = left.length ^ right.length
  for (const [index, byte] of left.entries()) difference |= byte ^ (right[index] ?? 0)
  return difference === 0
}
