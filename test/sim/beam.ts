import type { NodeName } from '../../core/node.ts'
import { between } from './chance.ts'
import { answers, type Machine } from './machine.ts'
import type { Network } from './network.ts'
import type { Time } from './time.ts'

/** How a dial ended: undefined with a link, else why not. */
export type DialEnd = (error?: { code: string; message: string; retryAfterMs?: number }) => void

/**
 * The mesh as OTP 25 and later keep it: full, since `global` introduces neighbours to each other (`connect_all`), and
 * without overlapping partitions, since it isolates whoever lost some of the links (`prevent_overlapping_partitions`).
 */
export interface Beam {
  links(node: NodeName): ReadonlySet<NodeName>
  /** Dials as `net_kernel:connect_node/1` does. */
  dial(from: NodeName, to: NodeName, ended: DialEnd): void
  /** `erlang:disconnect_node/1`: loses the link, and in a mesh of three or more all others too, on both sides. */
  disconnectNode(from: NodeName, to: NodeName, why: string): void
  /** `global:disconnect/0` on the node: its links go, and nobody else's. */
  leave(node: NodeName): void
  /** What the machines or the network can do has changed: some links may end, or be saved. */
  recheck(): void
  /** Every link, each once. */
  pairs(): Iterable<readonly [NodeName, NodeName]>
}

export interface BeamOptions {
  time: Time
  network: Network
  machine: (node: NodeName) => Machine | undefined
  random: () => number
  /** A link came up or went down, and why. */
  changed: (a: NodeName, b: NodeName, up: boolean, why: string) => void
  /** `members`: hidden nodes without `global`; each link is for itself. */
  kind: 'beam' | 'members'
}

// net_setuptime, and net_ticktime of 60 s with what a quarter of it adds or takes.
const SETUP_MS = 7_000
const TICK_MS = [45_000, 75_000] as const
// Measured from a link to the links that `global` makes of it.
const INTRODUCTION_MS = 200
// epmd, TCP and the two halves of the handshake; a lost packet comes again after 1 s, then 2 s, then 4 s.
const ROUND_TRIPS = 4
const FIRST_REPEAT_MS = 1_000
/** Why a link is gone: a node was taken out of the mesh. */
export const LEFT = 'left'
/** Why a link is gone: an agent cut it from one side. */
export const CUT = 'cut'
const NOBODY: ReadonlySet<NodeName> = new Set()

/** Makes a mesh without links. */
export function createBeam({ time, network, machine, random, changed, kind }: BeamOptions): Beam {
  const neighbours = new Map<NodeName, Set<NodeName>>()
  const ticking = new Map<string, () => void>()
  const introducing = new Set<string>()
  const links = (node: NodeName) => neighbours.get(node) ?? NOBODY
  const keyOf = (a: NodeName, b: NodeName) => (a < b ? `${a} ${b}` : `${b} ${a}`)
  const hears = (a: NodeName, b: NodeName) => answers(machine(a)) && answers(machine(b)) && network.talks(a, b)

  function note(a: NodeName, b: NodeName): void {
    const peers = neighbours.get(a) ?? new Set()
    neighbours.set(a, peers.add(b))
  }

  function link(a: NodeName, b: NodeName): void {
    if (links(a).has(b)) return
    note(a, b)
    note(b, a)
    changed(a, b, true, 'dialled')
    if (kind === 'beam') time.after(INTRODUCTION_MS, () => introduce(a, b))
  }

  function introduce(a: NodeName, b: NodeName): void {
    if (!links(a).has(b)) return
    for (const [one, other] of [
      [a, b],
      [b, a],
    ] as const) {
      for (const peer of links(one)) {
        const key = keyOf(peer, other)
        if (peer === other || links(other).has(peer) || introducing.has(key)) continue
        introducing.add(key)
        dial(other, peer, () => introducing.delete(key))
      }
    }
  }

  function drop(a: NodeName, b: NodeName, why: string): void {
    if (!neighbours.get(a)?.delete(b)) return
    neighbours.get(b)?.delete(a)
    const key = keyOf(a, b)
    ticking.get(key)?.()
    ticking.delete(key)
    changed(a, b, false, why)
  }

  /** A link is lost, by whatever, and `global` on both sides says so to all others: they cut the one that was lost. */
  function lose(a: NodeName, b: NodeName, why: string): void {
    const [ofA, ofB] = [[...links(a)], [...links(b)]]
    drop(a, b, why)
    if (kind === 'members') return
    tell(a, b, ofA, why)
    tell(b, a, ofB, why)
  }

  function tell(teller: NodeName, lost: NodeName, others: readonly NodeName[], why: string): void {
    for (const other of others) {
      if (other === lost || !hears(teller, other)) continue
      time.after(network.latencyMs(), () => drop(other, lost, `${why}: ${teller} said so`))
    }
  }

  function dial(from: NodeName, to: NodeName, ended: DialEnd): void {
    const fail = (code: string, ms: number) =>
      time.after(ms, () => ended({ code, message: `no link to ${to}: ${code}` }))
    if (links(from).has(to)) return void time.after(network.latencyMs(), () => ended())
    const target = machine(to)
    if (target?.power === 'down' && network.talks(from, to)) {
      return void fail('connect_refused', 2 * network.latencyMs())
    }
    const ms = hears(from, to) ? handshakeMs() : Infinity
    if (ms > SETUP_MS) return void fail('connect_timeout', SETUP_MS)
    time.after(ms, () => {
      if (!hears(from, to) || machine(to) !== target) {
        fail('connect_timeout', SETUP_MS - ms)
        return
      }
      link(from, to)
      ended()
    })
  }

  function handshakeMs(): number {
    const lost = 1 - (1 - network.loss()) ** 2
    let ms = 0
    for (let trip = 0; trip < ROUND_TRIPS; trip++) {
      ms += 2 * network.latencyMs()
      for (let repeat = FIRST_REPEAT_MS; ms <= SETUP_MS && isLost(lost); repeat *= 2) ms += repeat
    }
    return ms
  }

  // Nothing is drawn where nothing can be lost: a whole network costs no chance.
  function isLost(share: number): boolean {
    return share > 0 && random() < share
  }

  function* pairs(): Generator<readonly [NodeName, NodeName]> {
    for (const [node, peers] of neighbours) for (const peer of peers) if (node < peer) yield [node, peer]
  }

  return {
    links,
    dial,
    pairs,

    disconnectNode(from, to, why) {
      lose(from, to, why)
    },

    leave(node) {
      for (const peer of Array.from(links(node))) drop(node, peer, `${node} ${LEFT}`)
    },

    recheck() {
      for (const [a, b] of Array.from(pairs())) {
        const key = keyOf(a, b)
        const cancel = ticking.get(key)
        const gone = [a, b].find((node) => (machine(node)?.power ?? 'down') === 'down')
        if (gone !== undefined) {
          drop(a, b, `${gone} ended`)
        } else if (hears(a, b)) {
          cancel?.()
          ticking.delete(key)
        } else if (cancel === undefined) {
          const ms = between(...TICK_MS, random)
          const lost = () => lose(a, b, 'no tick')
          ticking.set(key, time.after(ms, lost))
        }
      }
    },
  }
}
