import * as z from 'zod/mini'

const UNITS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }
const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/
const duration = { error: 'expected a duration like 250ms, 5s, 2m or 1h' }
const interval = { error: `${duration.error}, or never` }

/** Ms of `250ms`, `5s`, `2m` or `1h`; undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  const [, amount = '', unit = ''] = DURATION.exec(text) ?? []
  const scale = UNITS[unit]
  return scale === undefined ? undefined : Number(amount) * scale
}

/** A duration in the config, ms after parsing. */
export const durationSchema = z.pipe(
  z.union([z.string().check(z.regex(DURATION, duration)), z.number().check(z.minimum(0, duration))], duration),
  z.transform(msOf),
)

/** A duration above 0, or `never`, which is 0 after parsing: a plain 0 would say "all the time" to some and "never" to others. */
export const intervalSchema = z.pipe(
  z.union(
    [
      z.literal('never', interval),
      z.string().check(z.regex(DURATION, interval), z.refine(isPositive, interval)),
      z.number().check(z.gt(0, interval)),
    ],
    interval,
  ),
  z.transform(msOf),
)

/** Of what the schemas let through: all but `never` is a duration. */
function msOf(value: string | number): number {
  return typeof value === 'number' ? value : (parseDuration(value) ?? 0)
}

function isPositive(value: string): boolean {
  return msOf(value) > 0
}
