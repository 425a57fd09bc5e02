/** A few words about a value from outside, for a message: short, on one line, and without a throw however deep or odd it is. */
export function excerpt(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 80))
  if (typeof value !== 'object' || value === null) return String(value).slice(0, 80)
  if (Array.isArray(value)) return `a list of ${value.length}`
  return `an object with ${JSON.stringify(Object.keys(value).slice(0, 5)).slice(0, 80)}`
}
