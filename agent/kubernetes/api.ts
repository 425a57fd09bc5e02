import { RollcallError } from '../../core/error.ts'
import {
  type KubernetesOptions,
  kubernetesKinds,
  type ListPage,
  readEvent,
  readPage,
  selectorsOf,
  type WatchEvent,
} from '../../core/sources/kubernetes.ts'
import type { SourceContext } from '../../functions/resolvers/source.ts'
import type { Clock } from '../clock.ts'
import { type HttpAnswer, refusal, send } from '../../functions/http.ts'
import { type Connection, createConnection } from './connection.ts'
import { parseJson, readLines, readStart } from './json.ts'
import { findTarget, type Surroundings } from './surroundings.ts'

/** The two requests that a source makes, for one resource in one namespace. */
export interface Api {
  /** One page of a list. Throws `http_<status>`, `unreachable`, `timeout`, `bad_answer` and what {@link findTarget} throws. */
  list(query: Query, signal: AbortSignal): Promise<ListPage>
  /** The events of a watch, once it is accepted. Throws as `list` does, and `watch_cut` where the connection breaks. */
  watch(query: Query, signal: AbortSignal): Promise<AsyncIterable<WatchEvent>>
  /** Closes its connections. */
  close(): void
}

export interface ApiOptions {
  readonly options: KubernetesOptions
  readonly namespace: string
  readonly context: SourceContext
  readonly surroundings: Surroundings
  readonly clock: Clock
}

type Query = Readonly<Record<string, string>>
type Verb = 'list' | 'watch'

// libcluster's: an API server that is busy for longer has other worries.
const TIMEOUT_MS = 15_000
// A page of 500 pods with much in them is some 8 MB.
const MAX_PAGE_BYTES = 32 * 1024 * 1024
// etcd takes objects of at most 1.5 MB, which JSON may double.
const MAX_LINE_BYTES = 4 * 1024 * 1024
// Of a refusal only its message is quoted.
const MAX_REFUSAL_BYTES = 64 * 1024

/** What talks to the API server. Token and CA are read again for each request. */
export function createApi({ options, namespace, context, surroundings, clock }: ApiOptions): Api {
  const kind = kubernetesKinds[options.resource]
  let connection: (Connection & { readonly ca: string | undefined }) | undefined

  async function prepare(query: Query) {
    const { url, token, ca } = await findTarget(options, surroundings)
    const parameters = new URLSearchParams({ ...selectorsOf(options), ...query })
    const target = `${url}${kind.path}/namespaces/${namespace}/${options.resource}?${parameters.toString()}`
    const headers = {
      'User-Agent': 'rollcall',
      ...(token !== undefined && { Authorization: `Bearer ${token}` }),
    }
    if (connection === undefined || connection.ca !== ca) {
      connection?.close()
      connection = { ...createConnection(ca), ca }
    }
    return { target, headers, fetch: connection.fetch }
  }

  function refused(answer: HttpAnswer, verb: Verb): RollcallError {
    return refusal(answer, { advice: adviceFor(verb, options, namespace), detail: messageOf(answer.text) })
  }

  return {
    async list(query, signal) {
      const { target, headers, fetch } = await prepare(query)
      const limits = { timeoutMs: TIMEOUT_MS, maxBytes: MAX_PAGE_BYTES, clock }
      const asked = { part: 'kubernetes', target, headers, ...limits }
      const answer = await reached(() => send(asked, { ...context, fetch, signal }), { target, signal })
      if (answer.status !== 200) throw refused(answer, 'list')
      if (!isJson(answer)) throw noJson(answer)
      return readPage(parseJson(answer.text), kind)
    },

    async watch(query, signal) {
      const { target, headers, fetch } = await prepare({ watch: 'true', allowWatchBookmarks: 'true', ...query })
      const sentAt = context.now()
      const given = { headers: { Accept: 'application/json', ...headers }, signal }
      const response = await reached(() => fetch(target, given), { target, signal })
      const { status, body } = response
      const receivedAt = context.now()
      const answer = { part: 'kubernetes', target, status, headers: response.headers, sentAt, receivedAt }
      if (status === 200 && isJson(answer)) return eventsOf(body ?? empty())
      // Unread it would keep its connection, whatever was wrong with it.
      const text = await reached(() => readStart(body ?? empty(), MAX_REFUSAL_BYTES), { target, signal })
      throw status === 200 ? noJson(answer) : refused({ ...answer, text }, 'watch')
    },

    close: () => connection?.close(),
  }
}

/** What `work` gives; `unreachable`, with what to check here, where the connection fails. */
async function reached<T>(
  work: () => Promise<T>,
  { target, signal }: { target: string; signal: AbortSignal },
): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    if (signal.aborted || (cause instanceof RollcallError && cause.code !== 'unreachable')) throw cause
    const advice = 'check server, and that it can be reached from here'
    throw failure('unreachable', cause, `an answer of ${target}`, advice)
  }
}

async function* eventsOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<WatchEvent> {
  try {
    for await (const line of readLines(body, MAX_LINE_BYTES)) yield readEvent(parseJson(line))
  } catch (cause) {
    if (cause instanceof RollcallError) throw cause
    throw failure('watch_cut', cause, 'the end of the watch', 'what is between it and the API server?')
  }
}

async function* empty(): AsyncGenerator<Uint8Array> {}

function isJson({ headers }: Pick<HttpAnswer, 'headers'>): boolean {
  return headers.get('content-type')?.startsWith('application/json') === true
}

function noJson({ headers, target }: Pick<HttpAnswer, 'headers' | 'target'>): RollcallError {
  const type = headers.get('content-type')?.slice(0, 80) ?? 'no content type'
  const message = `[kubernetes] expected JSON from ${target}, got ${type}: is it a Kubernetes API server?`
  return new RollcallError('bad_answer', message)
}

function failure(code: string, cause: unknown, wanted: string, advice: string): RollcallError {
  // What fetch says itself is that it failed.
  const { code: got, message } = ((cause as Error).cause ?? cause) as { code?: string; message: string }
  return new RollcallError(code, `[kubernetes] expected ${wanted}, got ${got ?? message}: ${advice}`, { cause })
}

/** What a `Status` object says; an empty text where the body is none. */
function messageOf(text: string): string {
  try {
    const { message } = parseJson(text) as { message?: unknown }
    return typeof message === 'string' ? JSON.stringify(message.slice(0, 200)) : ''
  } catch (error) {
    if (error instanceof RollcallError || error instanceof TypeError) return ''
    throw error
  }
}

/** What to do about a refusal, by status. */
function adviceFor(verb: Verb, { resource }: KubernetesOptions, namespace: string): Readonly<Record<number, string>> {
  const { group, path } = kubernetesKinds[resource]
  const what = `${resource}${group === '' ? '' : `.${group}`}`
  const down = 'the API server is not well, and is asked again'
  return {
    400: 'check selector',
    401: 'the token is not accepted: check tokenFile, and that it is a token of this cluster',
    403: `the Role lacks the verb ${verb} on ${what} in namespace ${namespace}: see infra/kubernetes/rbac.yaml`,
    404: `the server has no ${path}: check server; endpointslices need Kubernetes 1.21`,
    410: 'what it said before is too old, and it is asked anew',
    429: 'too many ask, and it is left alone for a while: raise interval',
    500: down,
    502: down,
    503: down,
    504: down,
  }
}
