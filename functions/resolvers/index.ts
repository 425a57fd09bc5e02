import type { Source } from './source.ts'

/** The sources that any runtime can ask, by kind, loaded on first use. A bundle names its own few: it would inline all of these. */
export const resolvers: Readonly<Record<string, () => Promise<Source<unknown>>>> = {
  static: async () => (await import('./static.ts')).staticSource,
  dns: async () => (await import('./dns.ts')).dnsSource,
}
