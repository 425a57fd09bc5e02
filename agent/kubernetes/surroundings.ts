import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { RollcallError } from '../../core/error.ts'
import type { KubernetesOptions } from '../../core/sources/kubernetes.ts'

/** What a pod is given to find the API server of its cluster. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>
  /** The folder with `token`, `ca.crt` and `namespace` of its service account. */
  readonly serviceAccount: string
}

/** A server, and what proves each side to the other. */
export interface Target {
  /** Without a slash at its end. */
  readonly url: string
  readonly token?: string
  /** Of an https:// server: the certificates that its own must come from. */
  readonly ca?: string
}

/** https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/ */
export const podSurroundings: Surroundings = {
  env: process.env,
  serviceAccount: '/var/run/secrets/kubernetes.io/serviceaccount',
}

/**
 * The server to ask, with token and CA as they are now: both files change while a pod lives. Throws `not_in_cluster`,
 * `token_unreadable` or `ca_unreadable`; never goes on without what proves the server.
 */
export async function findTarget(
  { server, tokenFile, caFile }: KubernetesOptions,
  { env, serviceAccount }: Surroundings,
): Promise<Target> {
  const url = server?.replace(/\/+$/, '') ?? inClusterUrl(env)
  if (url.startsWith('http://')) {
    return tokenFile === undefined ? { url } : { url, token: await readToken(tokenFile) }
  }
  // One after the other: where neither is there, it says the same each time.
  const token = await readToken(tokenFile ?? join(serviceAccount, 'token'))
  const ca = await readCa(caFile ?? join(serviceAccount, 'ca.crt'))
  return { url, token, ca }
}

/** The namespace to ask. Throws `namespace_unknown` where neither the options nor the pod tell. */
export async function findNamespace(
  { namespace }: KubernetesOptions,
  { serviceAccount }: Surroundings,
): Promise<string> {
  if (namespace !== undefined) return namespace
  const file = join(serviceAccount, 'namespace')
  const found = (await readText(file, { code: 'namespace_unknown', advice: 'set namespace' })).trim()
  if (/^[a-z0-9-]{1,63}$/.test(found)) return found
  throw new RollcallError('namespace_unknown', `[kubernetes] expected a namespace in ${file}, got none: set namespace`)
}

function inClusterUrl({ KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port }: Surroundings['env']): string {
  if (host && port) return `https://${host.includes(':') ? `[${host}]` : host}:${port}`
  const got = 'no KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT'
  const advice = 'set server, http://127.0.0.1:8001 beside a kubectl proxy'
  throw new RollcallError('not_in_cluster', `[kubernetes] expected to run in a pod, got ${got}: ${advice}`)
}

async function readToken(file: string): Promise<string> {
  const advice = 'mount the service account (automountServiceAccountToken), or set tokenFile'
  const token = (await readText(file, { code: 'token_unreadable', advice })).trim()
  // What else stands there would end in a header.
  if (/^[!-~]+$/.test(token)) return token
  throw new RollcallError('token_unreadable', `[kubernetes] expected a token in ${file}, got something else: ${advice}`)
}

async function readCa(file: string): Promise<string> {
  const advice = 'set caFile to the certificates of the API server; it is never asked unverified'
  const ca = await readText(file, { code: 'ca_unreadable', advice })
  // With nothing in it, TLS would take the public authorities instead.
  if (ca.includes('-----BEGIN CERTIFICATE-----')) return ca
  throw new RollcallError('ca_unreadable', `[kubernetes] expected certificates in ${file}, got none: ${advice}`)
}

async function readText(file: string, { code, advice }: { code: string; advice: string }): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    const { code: got } = cause as NodeJS.ErrnoException
    throw new RollcallError(code, `[kubernetes] expected to read ${file}, got ${got}: ${advice}`, { cause })
  }
}
