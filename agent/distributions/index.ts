import type { Config } from '../../core/config.ts'
import { RollcallError } from '../../core/error.ts'
import type { NodeName } from '../../core/node.ts'
import type { Log } from '../../functions/resolvers/source.ts'
import type { Distribution } from './distribution.ts'

/** Opens the distribution that the config names, loading only its code. Throws `config` without one. */
export async function openDistribution(
  { distribution }: Config,
  { self, log }: { self: NodeName; log: Log },
): Promise<Distribution> {
  if (distribution === undefined) {
    throw new RollcallError(
      'config',
      '[config] distribution: expected beam or exec, got none: an agent needs a mesh to dial in',
    )
  }
  if ('beam' in distribution && distribution.beam.mode === 'member') {
    const { openMemberDistribution } = await import('./member.ts')
    return await openMemberDistribution(distribution.beam, { self, log })
  }
  if ('beam' in distribution) {
    const { createBeamDistribution } = await import('./beam.ts')
    return createBeamDistribution(distribution.beam, { self, log })
  }
  const { createExecDistribution } = await import('./exec.ts')
  return createExecDistribution(distribution.exec, { self })
}
