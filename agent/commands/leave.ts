import { RollcallError } from '../../core/error.ts'
import { createAgent } from '../agent.ts'
import { type CommonOptions, openToDial, refuseMember } from './open.ts'

// Above the 10 s that an agent gives its mesh for it.
const TIMEOUT_MS = 15_000

/** Takes this node out of the mesh: by its running agent, which would dial its peers again, or where none listens itself. */
export async function leave(given: CommonOptions): Promise<number> {
  const { config, log } = await openToDial(given)
  if (config.agent.listen !== undefined && (await askRunningAgent(config.agent.listen))) return 0
  refuseMember(config, { file: given.config, command: 'leave without an agent on agent.listen' })
  const agent = createAgent(config, { log })
  try {
    await agent.leave()
    return 0
  } finally {
    await agent.stop()
  }
}

/** False when nothing listens there. Throws when it could not leave. */
async function askRunningAgent(listen: string): Promise<boolean> {
  const address = listen.replace(/^0\.0\.0\.0:/, '127.0.0.1:').replace(/^\[::\]:/, '[::1]:')
  const signal = AbortSignal.timeout(TIMEOUT_MS)
  let answer: Response
  try {
    answer = await fetch(`http://${address}/v1/leave`, { method: 'POST', signal })
  } catch (error) {
    const { cause } = error as { cause?: NodeJS.ErrnoException }
    if (cause?.code === 'ECONNREFUSED') return false
    const message = `[leave] expected the agent on ${listen} to answer, got ${cause?.code ?? String(error)}: is it rollcall's?`
    throw new RollcallError('agent_unreachable', message, { cause: error })
  }
  if (answer.ok) return true
  const message = `[leave] expected the agent on ${listen} to leave, got ${answer.status}: ${await answer.text()}`
  throw new RollcallError('leave_failed', message)
}
