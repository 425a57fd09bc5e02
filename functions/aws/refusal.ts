import { RollcallError } from '../../core/error.ts'

/** What of an error of the SDK is read: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html */
interface SdkError {
  readonly name?: string
  readonly message?: string
  /** Only a refusal by the service has it. */
  readonly $fault?: string
  readonly $metadata?: { readonly httpStatusCode?: number }
  readonly $response?: { readonly headers?: Readonly<Record<string, string>> }
}

// Three of the usual intervals: the calls of a whole account come out of one bucket, which fills in a few seconds once it is left alone.
const THROTTLED_MS = 15_000

// Names of errors as the services write them; each has several for one thing.
const CODES: readonly [code: string, pattern: RegExp, advice: string][] = [
  [
    'throttled',
    /^(RequestLimitExceeded|Throttl|RequestThrottled|TooManyRequests|SlowDown|EC2Throttled|PriorRequestNotComplete)/,
    'raise interval, or let one function ask for all agents',
  ],
  [
    'no_credentials',
    /^(CredentialsProviderError|TokenProviderError|ProviderError|MissingAuthenticationToken)/,
    'give this process a role (instance profile, task role, service account) or AWS_ACCESS_KEY_ID',
  ],
  [
    'credentials_refused',
    /^(AuthFailure|ExpiredToken|RequestExpired|InvalidClientTokenId|UnrecognizedClient|SignatureDoesNotMatch|InvalidSignature|RequestTimeTooSkewed)/,
    'are they of this account, not expired, and is the clock right?',
  ],
  [
    'forbidden',
    /^(UnauthorizedOperation|AccessDenied|OptInRequired)/,
    'its role needs ec2:DescribeInstances, servicediscovery:DiscoverInstances and DiscoverInstancesRevision, or dynamodb:Query, GetItem and PutItem',
  ],
  ['no_service', /^(ServiceNotFound|NamespaceNotFound)/, 'check namespace, service and region'],
]
const STATUS_ADVICE = 'the text is its own'

/**
 * What the SDK threw, with a stable code: `throttled` (which says how long to leave it alone), `no_credentials`, `credentials_refused`,
 * `forbidden`, `no_service`, `http_<status>` for other refusals, `bad_answer` for what it could not read.
 */
export function explain(thrown: unknown, { part, expected }: { part: string; expected: string }): RollcallError {
  const error = (thrown ?? {}) as SdkError
  const status = error.$metadata?.httpStatusCode
  const name = error.name ?? ''
  const [code, , advice] = CODES.find(([, pattern]) => pattern.test(name)) ?? []
  if (code !== undefined) {
    // Not its message: some hold the time of the request or a long encoded reason, and the same failure is to have the same one.
    const retryAfterMs = code === 'throttled' ? (retryAfter(error) ?? THROTTLED_MS) : undefined
    return new RollcallError(code, `${expected}, got ${name}: ${advice}`, { cause: thrown, retryAfterMs })
  }
  const got = line(error)
  if (error.$fault !== undefined || (status !== undefined && status !== 200)) {
    const message = `${expected}, got ${[status, got].filter(Boolean).join(' ')}: ${STATUS_ADVICE}`
    return new RollcallError(`http_${status ?? 0}`, message, { cause: thrown, retryAfterMs: retryAfter(error) })
  }
  const message = `[${part}] expected an answer that can be read, got ${got}: is endpoint one of AWS?`
  return new RollcallError('bad_answer', message, { cause: thrown })
}

/** RFC 9110, section 10.2.3, as AWS uses it: seconds. */
function retryAfter({ $response }: SdkError): number | undefined {
  const value = $response?.headers?.['retry-after'] ?? ''
  return /^\d{1,6}$/.test(value) ? Number(value) * 1_000 : undefined
}

/** Its name and the first line of its message, short: it ends in a log. */
function line({ name = '', message = '' }: SdkError): string {
  const [first = ''] = message.split('\n', 1)
  const both = name === '' || name === first || first.startsWith(name) ? first : `${name} ${first}`
  return both.replaceAll(/[^ -~]/g, '?').slice(0, 200)
}
