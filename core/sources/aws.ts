import * as z from 'zod/mini'
import { durationSchema } from '../duration.ts'
import { basename, name } from '../setting.ts'
import { baseUrl } from './base-url.ts'

/** What every source in AWS can be told; `timeout` in ms. */
export interface AwsOptions {
  region?: string | undefined
  endpoint?: string | undefined
  timeout: number
}

// It becomes a part of the host that credentials are shown to.
const REGION = /^[a-z0-9]+(-[a-z0-9]+)*$/

/** Whether it can be the name of a region. */
export function isRegion(value: string): boolean {
  return value.length <= 63 && REGION.test(value)
}

export const awsOptions = {
  name,
  /** AWS_REGION or AWS_DEFAULT_REGION by default, then the one that this instance is in. */
  region: z.optional(z.string().check(z.refine(isRegion, { error: 'expected a region like eu-west-1' }))),
  /** Asked instead of AWS: a VPC endpoint, or what speaks like AWS. */
  endpoint: z.optional(baseUrl),
  /** The part before the `@` of the names it makes; the agent's own by default, required in a served topology. */
  basename,
  /** How long all pages of an answer may take, ms; as long as the usual interval. */
  timeout: z._default(durationSchema, 5_000),
}
