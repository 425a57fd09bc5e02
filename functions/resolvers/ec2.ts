import { RollcallError } from '../../core/error.ts'
import {
  type Ec2Filter,
  type Ec2Options,
  type Entry,
  ec2OptionsSchema,
  filtersOf,
  literally,
  nextToken,
  readReservations,
  readTag,
} from '../../core/sources/ec2.ts'
import { findingOf, outcomeOf } from '../../core/sources/outcome.ts'
import { openMetadata } from '../aws/metadata.ts'
import { createAwsService } from '../aws/service.ts'
import { within } from '../within.ts'
import { basenameFor } from './basename.ts'
import type { Source, SourceContext } from './source.ts'

export interface Ec2Seams {
  /** Where AWS_REGION and the place of the metadata service are read. */
  env?: Readonly<Record<string, string | undefined>>
  /** How many instances a page has at most. */
  pageSize?: number
}

// Half of what EC2 gives at most: a page is parsed at one go, and 500 are some 5 MB.
const PAGE_SIZE = 500
// Twice the usual maxMembers.
const MAX_PAGES = 40
// Of a tag's value that the API was asked for: at each look it would double the calls that AWS throttles.
const TAG_TTL_MS = 60_000

/** The part of a DescribeInstances request that is used. */
interface Question {
  Filters?: Ec2Filter[]
  InstanceIds?: string[]
  MaxResults?: number
  NextToken?: string
}

/**
 * The EC2 instances of a region that have all of the tags, by DescribeInstances; with the id of the instance. A page that fails makes
 * the pages before it `partial`. Needs the permission ec2:DescribeInstances. Throws `throttled`, `no_credentials`,
 * `credentials_refused`, `forbidden`, `http_<status>`, `unreachable`, `timeout`, `bad_answer`, `no_region`, `no_metadata`, `no_tag`.
 */
export function createEc2Source({ env = process.env, pageSize = PAGE_SIZE }: Ec2Seams = {}): Source<Ec2Options> {
  const service = createAwsService({
    part: 'ec2',
    packageName: '@aws-sdk/client-ec2',
    variable: 'EC2',
    env,
    async open(config) {
      const { DescribeInstancesCommand, EC2Client } = await import('../aws/ec2-client.ts')
      const client = new EC2Client({ ...config })
      return {
        config: client.config,
        describe: (question: Question, options: { abortSignal: AbortSignal }) =>
          client.send(new DescribeInstancesCommand(question), options),
      }
    },
  })
  const ownTags = new Map<string, { value: string; at: number }>()

  return {
    options: ec2OptionsSchema,
    async look(options, context) {
      const at = context.now()
      const basename = basenameFor(options.basename, context, 'ec2')
      const { entries, flaw } = await within({ ms: options.timeout, signal: context.signal }, async (signal) => {
        const asking = { options, context: { ...context, signal } }
        return await readPages(filtersOf(await tagsOf(asking)), { basename, asking })
      })
      context.signal.throwIfAborted()
      const { members, flaws } = findingOf(entries)
      return {
        source: context.source,
        at,
        ...outcomeOf({ members, flaws: flaw === undefined ? flaws : [...flaws, flaw] }),
      }
    },
  }

  function describe(question: Question, { options, context }: Asking) {
    const operation = 'DescribeInstances'
    return service({ operation, send: (client, abort) => client.describe(question, abort) }, options, context)
  }

  /** All pages, or those before the first that failed, with why. Throws where the first failed. */
  async function readPages(
    Filters: Ec2Filter[],
    { basename, asking }: { basename: string; asking: Asking },
  ): Promise<{ entries: Entry[]; flaw?: string }> {
    const { address } = asking.options
    const entries: Entry[] = []
    let token: string | undefined
    for (let page = 0; page < MAX_PAGES; page++) {
      try {
        const question = { Filters, MaxResults: pageSize, ...(token !== undefined && { NextToken: token }) }
        const answer = await describe(question, asking)
        entries.push(...readReservations(answer, { basename, address }))
        token = nextToken(answer)
      } catch (error) {
        if (page === 0 || !(error instanceof RollcallError)) throw error
        return { entries, flaw: error.message }
      }
      if (token === undefined) return { entries }
    }
    return {
      entries,
      flaw: `[ec2] expected at most ${MAX_PAGES} pages of ${pageSize} instances, got more: choose by tags`,
    }
  }

  /** The tags with a value each. */
  async function tagsOf(asking: Asking): Promise<Record<string, string>> {
    const tags: Record<string, string> = {}
    for (const [tag, value] of Object.entries(asking.options.tags)) {
      tags[tag] = value ?? literally(await ownValue(tag, asking))
    }
    return tags
  }

  /** The value that this instance has: of its metadata, which costs no call, or of the API where tags are not in there. */
  async function ownValue(tag: string, asking: Asking): Promise<string> {
    const { context } = asking
    const metadata = await openMetadata({ part: 'ec2', env }, context)
    const told = await metadata(`tags/instance/${encodeURIComponent(tag)}`)
    if (told !== undefined) return told
    const known = ownTags.get(tag)
    const age = context.now() - (known?.at ?? 0)
    if (known !== undefined && age >= 0 && age < TAG_TTL_MS) return known.value
    const id = await metadata('instance-id')
    if (id === undefined) throw new RollcallError('no_metadata', '[ec2] expected the id of this instance, got none')
    const value = readTag(await describe({ InstanceIds: [id] }, asking), tag)
    if (value === undefined) {
      const quoted = JSON.stringify(tag)
      throw new RollcallError(
        'no_tag',
        `[ec2] expected the tag ${quoted} on this instance ${id}, got none: add it, or say a value`,
      )
    }
    ownTags.set(tag, { value, at: context.now() })
    return value
  }
}

interface Asking {
  readonly options: Ec2Options
  /** Its signal has the deadline of the whole look. */
  readonly context: SourceContext
}
