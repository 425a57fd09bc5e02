import { RollcallError } from '../../core/error.ts'
import { type AwsOptions, isRegion } from '../../core/sources/aws.ts'
import { readBody } from '../body.ts'
import type { SourceContext } from '../resolvers/source.ts'
import { isOverdue } from '../within.ts'
import { openMetadata } from './metadata.ts'
import { explain } from './refusal.ts'

/** What a client of the SDK is made with. */
export interface AwsConfig {
  readonly region: string
  readonly endpoint?: string
  /** With an endpoint of one's own there is no host beside it that begins with `data-`. */
  readonly disableHostPrefix: boolean
  readonly maxAttempts: number
  readonly systemClockOffset: number
  readonly requestHandler: RequestHandler
}

/** What of a client is used here, whatever its service. */
interface AwsClient {
  readonly config: { readonly systemClockOffset: number }
}

export interface AwsServiceOptions<Client> {
  /** Who asks, for messages. */
  readonly part: string
  /** Of npm: what to install where it is missing. */
  readonly packageName: string
  /** In the names of the variables that set its endpoint: `AWS_ENDPOINT_URL_<it>`. */
  readonly variable: string
  /** Loads the package and makes a client. */
  readonly open: (config: AwsConfig) => Promise<Client>
  readonly env: Readonly<Record<string, string | undefined>>
}

/** One call of the service. */
export interface AwsCall<Client, Output> {
  /** As AWS names it. */
  readonly operation: string
  readonly send: (client: Client, options: { abortSignal: AbortSignal }) => Promise<Output>
}

/** Makes one call, within the deadline of the context's signal. */
export type AwsService<Client> = <Output>(
  call: AwsCall<Client, Output>,
  options: AwsOptions,
  context: SourceContext,
) => Promise<Output>

interface SdkRequest {
  readonly method: string
  readonly protocol: string
  readonly hostname: string
  readonly port?: number
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array<ArrayBuffer>
}

interface RequestHandler {
  handle(request: SdkRequest, options?: { abortSignal?: unknown }): Promise<{ response: object }>
}

// A page of 500 instances with tags, disks and network interfaces is some 5 MB.
const MAX_BYTES = 32 * 1024 * 1024

/**
 * A service of AWS by the client of its SDK, which finds the credentials as every program there does: environment, web identity,
 * container, instance, files. The client is loaded at the first call, and made again after AWS has refused its credentials: they may
 * have been rotated since. Rejects with the codes of `explain`, `no_package` and `no_region`.
 */
export function createAwsService<Client extends AwsClient>(given: AwsServiceOptions<Client>): AwsService<Client> {
  const { part, env, open } = given
  let client: Client | undefined
  let [region, clockOffset]: [string | undefined, number] = [undefined, 0]

  return async ({ operation, send }, options, context) => {
    const { signal } = context
    try {
      signal.throwIfAborted()
      region ??= await regionOf(options, given, context)
      client ??= await opened(region, options, context)
      return await untilAborted(send(client, { abortSignal: signal }), signal)
    } catch (cause) {
      if (cause instanceof RollcallError) throw cause
      if (signal.aborted) throw endOf(signal, `${expectation(operation)} within ${options.timeout} ms`)
      const error = explain(cause, { part, expected: expectation(operation) })
      if (error.code === 'credentials_refused') {
        // It has learnt from the refusal how wrong the clock here is.
        clockOffset = client?.config.systemClockOffset ?? 0
        client = undefined
      }
      throw error
    }
  }

  function expectation(operation: string): string {
    return `[${part}] expected an answer to ${operation}${region === undefined ? '' : ` in ${region}`}`
  }

  async function opened(region: string, { endpoint }: AwsOptions, { fetch }: SourceContext): Promise<Client> {
    const elsewhere = endpoint || env[`AWS_ENDPOINT_URL_${given.variable}`] || env['AWS_ENDPOINT_URL']
    try {
      return await open({
        region,
        ...(endpoint !== undefined && { endpoint }),
        disableHostPrefix: Boolean(elsewhere),
        // The next look is the next attempt, and who is throttled must not ask three times instead of once.
        maxAttempts: 1,
        systemClockOffset: clockOffset,
        requestHandler: createRequestHandler(part, fetch),
      })
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw cause
      const message = `[${part}] expected the package ${given.packageName}, got none: npm install ${given.packageName} beside rollcall`
      throw new RollcallError('no_package', message, { cause })
    }
  }
}

async function regionOf(
  { region }: AwsOptions,
  { part, env }: Pick<AwsServiceOptions<unknown>, 'part' | 'env'>,
  context: SourceContext,
): Promise<string> {
  const told = region || env['AWS_REGION'] || env['AWS_DEFAULT_REGION']
  const found = told || (await ownRegion({ part, env }, context))
  if (isRegion(found)) return found
  throw noRegion(part, JSON.stringify(found.slice(0, 60)))
}

async function ownRegion(
  options: Pick<AwsServiceOptions<unknown>, 'part' | 'env'>,
  context: SourceContext,
): Promise<string> {
  try {
    const metadata = await openMetadata(options, context)
    return (await metadata('placement/region')) ?? ''
  } catch (cause) {
    if (!(cause instanceof RollcallError)) throw cause
    throw noRegion(options.part, `none; ${cause.message}`, { cause })
  }
}

function noRegion(part: string, got: string, options: { cause?: unknown } = {}): RollcallError {
  const message = `[${part}] expected region, AWS_REGION or the region of this instance, got ${got}`
  return new RollcallError('no_region', message, options)
}

/** Sends what the SDK has signed by `fetch`, and reads the answer up to a bound: its own handlers read without one. */
function createRequestHandler(part: string, fetch: SourceContext['fetch']): RequestHandler {
  return {
    async handle({ method, protocol, hostname, port, path, headers, body }, { abortSignal } = {}) {
      const target = `${protocol}//${hostname}${port === undefined ? '' : `:${port}`}`
      const signal = abortSignal as AbortSignal
      // They follow from the address and the body, and not every fetch lets them be set.
      const { host: _host, 'content-length': _length, ...own } = headers
      try {
        const request: RequestInit = { method, headers: own, body: body ?? null, redirect: 'manual', signal }
        const response = await fetch(`${target}${path}`, request)
        const bytes = await readBody(response.body, MAX_BYTES)
        if (bytes !== undefined) {
          const answer = { statusCode: response.status, headers: Object.fromEntries(response.headers), body: bytes }
          return { response: answer }
        }
      } catch (cause) {
        if (signal.aborted) throw cause
        // What fetch says itself is that it failed.
        const { code, message } = ((cause as Error).cause ?? cause) as { code?: string; message: string }
        const reason = `[${part}] expected an answer of ${target}, got ${code ?? message}: can it be reached from here?`
        throw new RollcallError('unreachable', reason, { cause })
      }
      throw new RollcallError('bad_answer', `[${part}] expected at most ${MAX_BYTES} bytes of ${target}, got more`)
    },
  }
}

/** As `work`, but for as long as the signal lets it: the SDK heeds none while it looks for credentials. */
async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const abort = () => reject(signal.reason)
  signal.addEventListener('abort', abort, { once: true })
  if (signal.aborted) abort()
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

function endOf(signal: AbortSignal, expected: string): unknown {
  const { reason: cause } = signal
  if (!isOverdue(signal)) return cause
  return new RollcallError('timeout', `${expected}, got none: can AWS be reached from here?`, { cause })
}
