import type { Source } from './source.ts'

/**
 * The sources that any runtime can ask, by kind, loaded on first use; each load gives one with a memory of its own. A bundle for the
 * edge names its own few: it would inline all of these.
 */
export const resolvers: Readonly<Record<string, () => Promise<Source<unknown>>>> = {
  static: async () => (await import('./static.ts')).staticSource,
  dns: async () => (await import('./dns.ts')).dnsSource,
  ec2: async () => (await import('./ec2.ts')).createEc2Source(),
  cloudmap: async () => (await import('./cloudmap.ts')).createCloudmapSource(),
}
