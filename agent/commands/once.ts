import { RollcallError } from '../../core/error.ts'
import { createAgent } from '../agent.ts'
import { type CommonOptions, openToDial, refuseMember } from './open.ts'

/** One round: looks, plans, dials and writes the state. Throws `not_formed` when a topology is not formed after it. */
export async function once(given: CommonOptions & { state?: string }): Promise<number> {
  const { config, log } = await openToDial(given)
  refuseMember(config, { file: given.config, command: 'once' })
  const agent = createAgent(
    { ...config, agent: { ...config.agent, state: given.state ?? config.agent.state } },
    { log },
  )
  try {
    const { errors } = await agent.discover()
    const formed = agent.plan()?.topologies ?? {}
    const missing = Object.keys(config.topologies).filter((topology) => formed[topology]?.formed !== true)
    if (missing.length === 0) return 0
    const why = errors.map(({ node, source, message }) => `; ${node ?? source ?? 'mesh'}: ${message}`).slice(0, 5)
    const sentence = `[once] expected every topology to be formed, got ${missing.join(', ')} not formed${why.join('')}`
    throw new RollcallError('not_formed', sentence)
  } finally {
    await agent.stop()
  }
}
