import { RollcallError } from '../../core/error.ts'
import { readBody } from '../body.ts'
import type { SourceContext } from '../resolvers/source.ts'
import { isOverdue, within } from '../within.ts'

/** What is asked of the metadata service, and by whom. */
export interface MetadataOptions {
  /** For messages. */
  readonly part: string
  /** AWS_EC2_METADATA_DISABLED, AWS_EC2_METADATA_SERVICE_ENDPOINT and its _MODE count as they do for the clients of AWS. */
  readonly env: Readonly<Record<string, string | undefined>>
}

/** Reads one path below /latest/meta-data/; undefined where there is no such thing. */
export type Metadata = (path: string) => Promise<string | undefined>

// It is next door, and the clients of AWS wait as long.
const TIMEOUT_MS = 1_000
// Instance tags have at most 256 characters.
const MAX_BYTES = 4_096
// One look reads a few paths; a token that nobody needs any more should be worth nothing.
const TOKEN_TTL_S = '60'
const IPV4 = 'http://169.254.169.254'
const IPV6 = 'http://[fd00:ec2::254]'
const HOP_LIMIT =
  'is this an EC2 instance? In a container its metadata needs a hop limit of 2 (HttpPutResponseHopLimit)'

/**
 * Opens the metadata service of the instance that this process runs on, by IMDSv2 alone: version 1 answers whoever can make this
 * machine send a GET. Throws `no_metadata` where nobody answers or it is switched off.
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
 */
export async function openMetadata({ part, env }: MetadataOptions, context: SourceContext): Promise<Metadata> {
  if (env['AWS_EC2_METADATA_DISABLED']?.toLowerCase() === 'true') {
    throw noMetadata(part, 'AWS_EC2_METADATA_DISABLED')
  }
  const base = env['AWS_EC2_METADATA_SERVICE_ENDPOINT'] || (isIpv6(env) ? IPV6 : IPV4)
  const token = await ask('/latest/api/token', {
    method: 'PUT',
    headers: { 'x-aws-ec2-metadata-token-ttl-seconds': TOKEN_TTL_S },
  })
  if (token.status !== 200 || !/^[!-~]+$/.test(token.text)) throw noMetadata(part, `${token.status} to PUT for a token`)

  return async (path) => {
    const headers = { 'x-aws-ec2-metadata-token': token.text }
    const { status, text } = await ask(`/latest/meta-data/${path}`, { headers })
    if (status === 404) return undefined
    if (status === 200) return text
    throw noMetadata(part, `${status} to GET ${path}`)
  }

  async function ask(path: string, request: RequestInit): Promise<{ status: number; text: string }> {
    return await within({ ms: TIMEOUT_MS, signal: context.signal }, async (signal) => {
      try {
        const response = await context.fetch(new URL(path, base), { ...request, redirect: 'manual', signal })
        const bytes = await readBody(response.body, MAX_BYTES)
        if (bytes !== undefined) return { status: response.status, text: new TextDecoder().decode(bytes) }
      } catch (cause) {
        if (context.signal.aborted && !isOverdue(context.signal)) throw context.signal.reason
        const { code, name } = ((cause as Error).cause ?? cause) as { code?: string; name: string }
        throw noMetadata(part, signal.aborted ? 'none in time' : (code ?? name), { cause })
      }
      throw noMetadata(part, `more than ${MAX_BYTES} bytes`)
    })
  }
}

function isIpv6(env: MetadataOptions['env']): boolean {
  return env['AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE']?.toLowerCase() === 'ipv6'
}

function noMetadata(part: string, got: string, options: { cause?: unknown } = {}): RollcallError {
  const message = `[${part}] expected an answer of the instance metadata service, got ${got}: ${HOP_LIMIT}`
  return new RollcallError('no_metadata', message, options)
}
