import { createAgent } from '../agent.ts'
import { type CommonOptions, openAsNode } from './open.ts'

/** One round: looks, plans, dials and writes the state. 0 when every topology is formed after it, else 1. */
export async function once(given: CommonOptions & { state?: string }): Promise<number> {
  const { config, log } = await openAsNode(given)
  const agent = createAgent(
    { ...config, agent: { ...config.agent, state: given.state ?? config.agent.state } },
    { log },
  )
  try {
    await agent.discover()
    const topologies = Object.values(agent.plan()?.topologies ?? {})
    return topologies.length > 0 && topologies.every(({ formed }) => formed) ? 0 : 1
  } finally {
    await agent.stop()
  }
}
