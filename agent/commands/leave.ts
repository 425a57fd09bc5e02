import { createAgent } from '../agent.ts'
import { type CommonOptions, openAsNode } from './open.ts'

/** Takes this node out of the mesh. */
export async function leave(given: CommonOptions): Promise<number> {
  const { config, log } = await openAsNode(given)
  const agent = createAgent(config, { log })
  try {
    await agent.leave()
    return 0
  } finally {
    await agent.stop()
  }
}
