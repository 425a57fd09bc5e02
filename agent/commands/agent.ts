import { createAgent } from '../agent.ts'
import { type CommonOptions, openToDial } from './open.ts'
import { untilSignal } from './signal.ts'

/** Keeps this node in its mesh until a signal. */
export async function agent(given: CommonOptions): Promise<number> {
  const { config, log } = await openToDial(given)
  const signalled = untilSignal(log)
  const running = createAgent(config, { log })
  try {
    await Promise.race([running.start(), signalled])
    await signalled
  } finally {
    await running.stop()
  }
  return 0
}
