import { type Member, up } from '../../core/member.ts'
import { type StaticOptions, staticOptionsSchema } from '../../core/served-config.ts'
import type { Source } from './source.ts'

/** The nodes that the config lists, always `complete`; of entries with one name the first counts. */
export const staticSource: Source<StaticOptions> = {
  options: staticOptionsSchema,
  async look({ nodes }, { source, now }) {
    const members = new Map<string, Member>()
    for (const entry of nodes) {
      const member = typeof entry === 'string' ? up(entry) : (entry as Member)
      if (!members.has(member.node)) members.set(member.node, member)
    }
    return { source, at: now(), outcome: 'complete', members: [...members.values()] }
  },
}
