import type { BeamConfig } from '../../core/config.ts'
import { hostOf, type NodeName } from '../../core/node.ts'
import type { Log } from '../../functions/resolvers/source.ts'
import { type MemberNode, startMember } from '../beam/member.ts'
import type { Distribution } from './distribution.ts'

/** Starts the node that a config in `member` mode describes, and makes it the distribution; `close` stops it. Rejects as `startMember` does. */
export async function openMemberDistribution(
  { cookie, port, listen, hidden, tls, allow, epmd = {} }: BeamConfig,
  { self, log }: { self: NodeName; log: Log },
): Promise<Distribution> {
  const node = await startMember({ name: self, cookie, port, listen, hidden, tls, allow, epmd, log })
  return { ...distributionOf(node), isNode: true, close: () => node.stop() }
}

/** A running member as the distribution of an agent: `createAgent(config, { distribution: distributionOf(node) })`. The node outlives the agent. */
export function distributionOf(node: MemberNode): Distribution {
  return {
    self: node.name,
    // Who knows it needs no epmd to find the port.
    address: { host: hostOf(node.name), port: node.port },
    list: async () => node.nodes(),
    connect: (peer, { address, signal }) => node.connect(peer, { address, signal }),
    // A hidden node is nothing to `global`: one closed connection takes nobody else along.
    disconnect: async (peer) => node.disconnect(peer),
    leave: async () => node.leave(),

    async *changes(signal) {
      const queue: { node: NodeName; up: boolean }[] = []
      let wake = () => {}
      const off = node.onLink((change) => {
        queue.push(change)
        wake()
      })
      signal.addEventListener('abort', () => wake(), { once: true })
      try {
        while (!signal.aborted) {
          const change = queue.shift()
          if (change !== undefined) yield change
          else await new Promise<void>((resolve) => (wake = resolve))
        }
      } finally {
        off()
      }
    },

    close: async () => undefined,
  }
}
