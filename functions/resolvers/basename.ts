import { RollcallError } from '../../core/error.ts'
import { basenameOf } from '../../core/node.ts'
import type { SourceContext } from './source.ts'

/**
 * The part before the `@` of the names that a source makes: the chosen one, else the own node's. Throws `config` where there is
 * neither.
 */
export function basenameFor(
  chosen: string | undefined,
  { self, source }: Pick<SourceContext, 'self' | 'source'>,
  part: string,
): string {
  const basename = chosen ?? (self === undefined ? undefined : basenameOf(self))
  if (basename !== undefined) return basename
  throw new RollcallError('config', `[${part}] expected \`basename\` on source ${source}, got none: no node asks here`)
}
