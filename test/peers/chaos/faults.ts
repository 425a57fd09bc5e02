import type { NodeName } from '../../../core/node.ts'
import { type ChaosNode, type Part, programOf } from './node.ts'
import { BASENAME, ZONE } from './settings.ts'
import type { World } from './world.ts'

/** Something that goes wrong for a while. */
export interface Fault {
  readonly kind: string
  /** The kind, and where. */
  readonly label: string
  /** Where it happens: one fault at a time to each. */
  readonly places: readonly string[]
  /** Whose links may go, and which may give no answer while it lasts. */
  readonly nodes: readonly NodeName[]
  /** Whether it explains that the link between these two was lost. */
  mayLose(a: NodeName, b: NodeName): boolean
  begin(): Promise<void>
  /** Resolves when what was taken away is there again; processes are up. */
  end(): Promise<void>
}

type Story = Pick<Fault, 'kind' | 'begin' | 'end'>

/** It takes all links of one node, and no other. */
function at(node: ChaosNode, story: Story): Fault {
  const label = `${story.kind} at ${node.name}`
  return {
    ...story,
    label,
    places: [node.name],
    nodes: [node.name],
    mayLose: (a, b) => a === node.name || b === node.name,
  }
}

/** It takes no link. */
function harmless(where: string, story: Story): Fault {
  return { ...story, label: `${story.kind} at ${where}`, places: [where], nodes: [], mayLose: () => false }
}

/** The part that is the node of the mesh: all else may go and its links stand. */
const isNodeItself = ({ kind }: ChaosNode, part: Part) => part === 'erl' || kind === 'member'

function toPart(node: ChaosNode, part: Part, story: Story): Fault {
  return isNodeItself(node, part) ? at(node, story) : harmless(node.name, story)
}

/** `kill -9`; at its end the part is started again, as whoever looks after it would. */
export function killed(node: ChaosNode, part: Part): Fault {
  const kind = `kill -9 of ${programOf(node, part)}`
  return toPart(node, part, { kind, begin: () => node.kill(part), end: () => node.start(part) })
}

/** SIGSTOP: its sockets are open, and nobody is behind them. */
export function stopped(node: ChaosNode, part: Part): Fault {
  const signal = (name: NodeJS.Signals) => process.kill(node.pids.get(part) ?? 0, name)
  return toPart(node, part, {
    kind: `SIGSTOP of ${programOf(node, part)}`,
    begin: async () => void signal('SIGSTOP'),
    end: async () => void signal('SIGCONT'),
  })
}

/** Its cable is out. */
export function unplugged(node: ChaosNode): Fault {
  return at(node, {
    kind: 'link down',
    begin: async () => node.host.plug(false),
    end: async () => node.host.plug(true),
  })
}

/** A fault of the network that says afterwards how many packets it took. */
export interface PacketLoss extends Fault {
  packets(): number
}

type Ways = Parameters<World['network']['lose']>[0][]

function losing({ network }: World, ways: Ways): Pick<PacketLoss, 'begin' | 'end' | 'packets'> {
  let undos: (() => number)[] = []
  let lost = 0
  return {
    begin: async () => void (undos = ways.map((way) => network.lose(way))),
    end: async () => void (lost = undos.reduce((sum, undo) => sum + undo(), 0)),
    packets: () => lost,
  }
}

/** What one sends to another gets lost; the other way is as ever. */
export function oneWay(world: World, from: ChaosNode, to: ChaosNode): PacketLoss {
  const ends = [from.name, to.name]
  return {
    kind: 'one-way drop',
    label: `one-way drop from ${from.name} to ${to.name}`,
    places: ends,
    nodes: ends,
    mayLose: (a, b) => ends.includes(a) && ends.includes(b),
    ...losing(world, [{ from: from.host, to: to.host }]),
  }
}

/** Half of the packets from and to a host get lost. */
export function lossy(world: World, { name, host }: ChaosNode): PacketLoss {
  return {
    kind: '50% loss',
    label: `50% loss at ${name}`,
    places: [name],
    nodes: [name],
    mayLose: (a, b) => a === name || b === name,
    ...losing(world, [
      { from: host, percent: 50 },
      { to: host, percent: 50 },
    ]),
  }
}

// Shorter than the grace, so that none of the answers is believed in what it leaves out.
const FLAP_MS = 1_000

/** named says something else each second: half of the nodes, SERVFAIL, nobody, everybody. */
export function dnsFlapping({ named, records }: World): Fault {
  const name = `${BASENAME}.${ZONE}`
  const answers = [
    () => named.update(...records.slice(records.length / 2).map((record) => `update delete ${absolute(record)}`)),
    () => named.breakZone(ZONE),
    async () => {
      await named.mendZone(ZONE)
      await named.update(`update delete ${name}. A`)
    },
    restore,
  ]
  let flapping: Promise<void> | undefined
  let ended = Promise.withResolvers<void>()

  async function restore(): Promise<void> {
    await named.update(...records.map((record) => `update add ${absolute(record)}`))
  }

  async function flap(): Promise<void> {
    for (let turn = 0; ; turn++) {
      await answers[turn % answers.length]?.()
      const timer = Promise.withResolvers<'over'>()
      const timeout = setTimeout(timer.resolve, FLAP_MS, 'over')
      const woken = await Promise.race([timer.promise, ended.promise])
      clearTimeout(timeout)
      if (woken === undefined) return
    }
  }

  return harmless('named', {
    kind: 'DNS flapping',
    async begin() {
      ended = Promise.withResolvers()
      flapping = flap()
      // Told at the end.
      flapping.catch(() => undefined)
    },
    async end() {
      ended.resolve()
      await flapping
      await named.mendZone(ZONE)
      await restore()
    },
  })
}

function absolute(record: string): string {
  return record.replace(BASENAME, `${BASENAME}.${ZONE}.`)
}

/** named gives no answer at all. */
export function dnsSilent({ named }: World): Fault {
  return harmless('named', { kind: 'SIGSTOP of named', begin: () => named.pause(), end: async () => named.resume() })
}

/** `kill -9` of the function. */
export function functionKilled({ function: served }: World): Fault {
  return harmless('its host', {
    kind: 'kill -9 of the function',
    begin: () => served.kill(),
    end: () => served.start(),
  })
}

/** There is no room for a state. */
export function diskFull({ disk }: World): Fault {
  return harmless('the state files', { kind: 'disk full', begin: () => disk.fill(), end: () => disk.free() })
}
