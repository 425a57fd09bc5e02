import { createCloudmapSource } from './cloudmap.ts'
import { createEc2Source } from './ec2.ts'
import type { Source } from './source.ts'
import { staticSource } from './static.ts'

/**
 * The sources that any runtime can ask, by kind; each load gives one with a memory of its own. What is large, the codec of DNS and the
 * clients of AWS, is loaded on first use. A bundle for the edge names its own few: it would inline all of these.
 */
export const resolvers: Readonly<Record<string, () => Promise<Source<unknown>>>> = {
  static: async () => staticSource,
  dns: async () => (await import('./dns.ts')).dnsSource,
  ec2: async () => createEc2Source(),
  cloudmap: async () => createCloudmapSource(),
}
