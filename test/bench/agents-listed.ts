import { setTimeout as delay } from 'node:timers/promises'
import { createClient } from '../../functions/client.ts'
import { hold } from './load.ts'

// A registration by an agent says where its node is dialled.
const PORT = 40_000
const AT_ONCE = 50

/**
 * How long each registration takes until the last of those who wait has its answer, in ms, where as many are listed as wait: each
 * answer is of some 120 KB. They read no answer: 1000 agents that do are 2 s of one machine's time, and have a machine each.
 */
export async function listedMs(url: string, { agents, rounds }: { agents: number; rounds: number }): Promise<number[]> {
  const client = createClient({ url, topology: 'registered' })
  const register = async (index: number) => {
    const host = `10.1.${index >> 8}.${index & 255}`
    return await client.register({ node: `app@${host}`, id: crypto.randomUUID(), address: { host, port: PORT } })
  }
  for (let from = 0; from < agents; from += AT_ONCE) {
    await Promise.all(Array.from({ length: AT_ONCE }, (_, index) => register(from + index)))
  }
  let { revision } = await client.members()
  const held = await hold(`${url}/v1/topologies/registered/members?wait=25000ms`, agents)
  const times: number[] = []
  try {
    // The first round warms up.
    for (let round = -1; round < rounds; round++) {
      const answered = held.ask({ 'If-None-Match': `W/"${revision}"` }, 200)
      // All wait.
      await Promise.race([delay(1_000), answered])
      const sentAt = performance.now()
      const registered = await register(agents + 1 + round)
      await answered
      if (round >= 0) times.push(performance.now() - sentAt)
      revision = registered.revision
    }
  } finally {
    held.close()
  }
  return times
}
