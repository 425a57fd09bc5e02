import { type MemberNode, startMember } from '../../agent/beam/member.ts'

/** What a member in a process of its own is told to do; it answers each with the ms that this took. */
export type Order =
  | { readonly type: 'connect'; readonly peer: string }
  | { readonly type: 'disconnect'; readonly peer: string }
  | { readonly type: 'see'; readonly peer: string; readonly up: boolean }
  | { readonly type: 'call'; readonly peer: string; readonly count: number; readonly width: number }

// `node member-peer.ts NAME COOKIE EPMD_PORT` is a member with one function, which takes orders over the channel to its parent.
const [name = '', cookie = '', epmdPort = ''] = process.argv.slice(2)
const member = await startMember({ name, cookie, epmd: { port: Number(epmdPort) } })
member.expose({ bench: { one: () => 1 } })
process.on('message', (order: Order) => void run(order))
process.send?.('ready')

async function run(order: Order): Promise<void> {
  const start = process.hrtime.bigint()
  await obey(member, order)
  process.send?.(Number(process.hrtime.bigint() - start) / 1e6)
}

async function obey(node: MemberNode, order: Order): Promise<void> {
  const { peer } = order
  if (order.type === 'connect') await node.connect(peer)
  else if (order.type === 'disconnect') node.disconnect(peer)
  else if (order.type === 'see') await see(node, peer, order.up)
  else {
    const callInTurn = async () => {
      for (let done = 0; done < order.count / order.width; done++) await node.rpc(peer, 'bench', 'one', [])
    }
    await Promise.all(Array.from({ length: order.width }, callInTurn))
  }
}

function see(node: MemberNode, peer: string, up: boolean): Promise<void> {
  return new Promise((resolve) => {
    if (node.nodes().includes(peer) === up) return resolve()
    const off = node.onLink((change) => {
      if (change.node !== peer || change.up !== up) return
      off()
      resolve()
    })
  })
}
