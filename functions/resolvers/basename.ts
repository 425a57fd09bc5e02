import { RollcallError } from '../../core/error.ts'
import { basenameOf, isNodeName, nodeName } from '../../core/node.ts'
import type { SourceContext } from './source.ts'

/**
 * The part before the `@` of the names that a source makes: the chosen one, else the own node's. Throws `config` where there is
 * neither, and for one that no name can have.
 */
export function basenameFor(
  chosen: string | undefined,
  { self, source }: Pick<SourceContext, 'self' | 'source'>,
  part: string,
): string {
  const basename = chosen ?? (self === undefined ? undefined : basenameOf(self))
  if (basename === undefined) {
    throw new RollcallError(
      'config',
      `[${part}] expected \`basename\` on source ${source}, got none: no node asks here`,
    )
  }
  if (isNodeName(nodeName(basename, 'host'))) return basename
  throw new RollcallError('config', `[${part}] expected a \`basename\` like app on source ${source}, got ${basename}`)
}
