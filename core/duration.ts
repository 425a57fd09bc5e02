import * as z from 'zod/mini'

const UNITS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }
const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/

/** Ms of `250ms`, `5s`, `2m`, `1h` or a number of ms; undefined for anything else. */
export function parseDuration(value: string | number): number | undefined {
  if (typeof value === 'number') return Number.isFinite(value) && value >= 0 ? value : undefined
  const [, amount = '', unit = ''] = DURATION.exec(value) ?? []
  const scale = UNITS[unit]
  return scale === undefined ? undefined : Number(amount) * scale
}

const isDuration = (value: string | number) => parseDuration(value) !== undefined

/** A duration in the config, ms after parsing. */
export const durationSchema = z.pipe(
  z
    .union([z.string(), z.number()], { error: 'expected a duration like 250ms, 5s, 2m or 1h' })
    .check(z.refine(isDuration, { error: 'expected a duration like 250ms, 5s, 2m or 1h' })),
  z.transform((value: string | number) => parseDuration(value) ?? 0),
)
