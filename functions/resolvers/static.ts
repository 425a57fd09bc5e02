import { type Member, up } from '../../core/member.ts'
import { type StaticOptions, staticOptionsSchema } from '../../core/served-config.ts'
import { outcomeOf } from '../../core/sources/outcome.ts'
import type { Source } from './source.ts'

/** The nodes that the config lists, always `complete`; of entries with one name the first counts, but `leaving` beats `up`. */
export const staticSource: Source<StaticOptions> = {
  options: staticOptionsSchema,
  async look({ nodes }, { source, now }) {
    const members = nodes.map((entry) => (typeof entry === 'string' ? up(entry) : (entry as Member)))
    return { source, at: now(), ...outcomeOf({ members, flaws: [] }) }
  },
}
