/** A few words about a value from outside, for a message: short, on one line, and without a throw however deep or odd it is. */
export function excerpt(value: unknown): string {
  if (typeof value === 'string') return quote(value)
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (value === undefined || value === null) return 'nothing'
  if (typeof value !== 'object') return `a ${typeof value}`
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : `a list of ${value.length}`
  const keys = Object.keys(value)
  const names = keys.slice(0, 5).map(quoteName).join(', ')
  return keys.length === 0 ? 'an empty mapping' : `a mapping with ${names.slice(0, 200)}`
}

/** As it is where it cannot be misread, else in quotes: a sentence must stay one line. */
export function quoteName(name: string): string {
  return /^[\w-]+$/.test(name) ? name : quote(name)
}

/** Short, and without the credentials of an address. */
function quote(text: string): string {
  return JSON.stringify(text.replace(/\/\/[^/@\s]*@/, '//…@').slice(0, 80))
}
