import { parseDuration } from '../../core/duration.ts'

/** The whole number that a flag was given. Throws a sentence that names the flag for anything but `least` to `most`. */
export function wholeNumber(flag: string, text: string, { least, most }: { least: number; most: number }): number {
  const value = /^\d+$/.test(text) ? Number(text) : NaN
  if (value >= least && value <= most) return value
  throw new RangeError(`expected --${flag} to be a whole number from ${least} to ${most}, got ${text}`)
}

/** Any seed will do, so long as those after it can be counted exactly. */
export function seedOf(flag: string, text: string): number {
  return wholeNumber(flag, text, { least: 0, most: 1e15 })
}

/** The hours that a flag was given, with decimals. Throws a sentence for anything that is not above 0. */
export function hoursOf(flag: string, text: string): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : NaN
  if (value > 0) return value
  throw new RangeError(`expected --${flag} to be hours above 0, like 24 or 0.5, got ${text}`)
}

/** Ms of the duration that a flag was given: `30s`, or a plain number of ms. Throws a sentence for anything that is not above 0. */
export function durationOf(flag: string, text: string): number {
  const value = /^\d+$/.test(text) ? Number(text) : parseDuration(text)
  if (value !== undefined && value > 0) return value
  throw new RangeError(`expected --${flag} to be a duration above 0, like 5s or 30000 (ms), got ${text}`)
}
