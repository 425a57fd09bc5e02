import {
  type CloudmapAnswer,
  type CloudmapOptions,
  cloudmapOptionsSchema,
  MAX_INSTANCES,
  readInstances,
  readRevision,
} from '../../core/sources/cloudmap.ts'
import { outcomeOf } from '../../core/sources/outcome.ts'
import { createAwsService } from '../aws/service.ts'
import { within } from '../within.ts'
import { basenameFor } from './basename.ts'
import type { Source, SourceContext } from './source.ts'

export interface CloudmapSeams {
  /** Where AWS_REGION and the place of the metadata service are read. */
  env?: Readonly<Record<string, string | undefined>>
}

// Health changes move no revision: this is the longest that one goes unseen.
const FULL_MS = 30_000

/** What was listed last, and when. */
interface Listed extends CloudmapAnswer {
  readonly at: number
}

/**
 * The instances of a Cloud Map service, with their ids: by DiscoverInstances at least every 30 s, and between by its revision alone,
 * while that stays. Needs the permissions servicediscovery:DiscoverInstances and :DiscoverInstancesRevision. Throws `throttled`,
 * `no_credentials`, `credentials_refused`, `forbidden`, `no_service`, `http_<status>`, `unreachable`, `timeout`, `bad_answer`,
 * `no_region`.
 */
export function createCloudmapSource({ env = process.env }: CloudmapSeams = {}): Source<CloudmapOptions> {
  const service = createAwsService({
    part: 'cloudmap',
    packageName: '@aws-sdk/client-servicediscovery',
    variable: 'SERVICEDISCOVERY',
    env,
    async open(config) {
      const sdk = await import('../aws/cloudmap-client.ts')
      const client = new sdk.ServiceDiscoveryClient({ ...config })
      return {
        config: client.config,
        discover: (options: CloudmapOptions, abort: { abortSignal: AbortSignal }) =>
          client.send(new sdk.DiscoverInstancesCommand(questionOf(options)), abort),
        revision: ({ namespace, service }: CloudmapOptions, abort: { abortSignal: AbortSignal }) =>
          client.send(
            new sdk.DiscoverInstancesRevisionCommand({ NamespaceName: namespace, ServiceName: service }),
            abort,
          ),
      }
    },
  })
  let listed: Listed | undefined

  return {
    options: cloudmapOptionsSchema,
    async look(options, context) {
      const at = context.now()
      const basename = basenameFor(options.basename, context, 'cloudmap')
      const answer = await within({ ms: options.timeout, signal: context.signal }, async (signal) => {
        const asking = { ...context, signal }
        if (listed !== undefined && (await isCurrent(listed, options, asking))) return listed
        const operation = 'DiscoverInstances'
        const found = await service(
          { operation, send: (client, abort) => client.discover(options, abort) },
          options,
          asking,
        )
        return { ...readInstances(found, basename), at }
      })
      listed = answer
      context.signal.throwIfAborted()
      return { source: context.source, at, ...outcomeOf(answer) }
    },
  }

  /** Whether what was listed then is what would be listed now, but for health. */
  async function isCurrent(
    { revision, at }: Listed,
    options: CloudmapOptions,
    context: SourceContext,
  ): Promise<boolean> {
    const age = context.now() - at
    // A clock that was set back must not make it last longer.
    if (revision === undefined || age < 0 || age >= FULL_MS) return false
    const operation = 'DiscoverInstancesRevision'
    const answer = await service(
      { operation, send: (client, abort) => client.revision(options, abort) },
      options,
      context,
    )
    return readRevision(answer) === revision
  }
}

/** https://docs.aws.amazon.com/cloud-map/latest/api/API_DiscoverInstances.html */
function questionOf({ namespace, service, health, attributes }: CloudmapOptions) {
  return {
    NamespaceName: namespace,
    ServiceName: service,
    MaxResults: MAX_INSTANCES,
    HealthStatus: health === 'all' ? ('ALL' as const) : ('HEALTHY' as const),
    ...(Object.keys(attributes).length > 0 && { QueryParameters: attributes }),
  }
}
