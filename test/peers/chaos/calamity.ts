import { between, chance, pick } from '../../sim/chance.ts'
import {
  diskFull,
  dnsFlapping,
  dnsSilent,
  type Fault,
  functionKilled,
  killed,
  lossy,
  oneWay,
  stopped,
  unplugged,
} from './faults.ts'
import type { ChaosNode } from './node.ts'
import type { World } from './world.ts'

/** What comes next, and for how long. */
export interface Calamity {
  readonly fault: Fault
  readonly lastsMs: number
}

// From what nobody notices to what every Erlang node does.
const SHORT_MS = [1_000, 12_000] as const
// One of so many that members notice as well: SIGSTOP, and a cable that is out.
const LONG_MS = [70_000, 80_000] as const
const LONG_ONE_IN = 5

/** Draws faults for ever, all from one seed: those that go on by now are left out. Undefined where all places are taken. */
export function createCalamities(
  world: World,
  seed: number,
): (isTaken: (place: string) => boolean) => Calamity | undefined {
  const next = chance(seed, 'calamities')
  const erlang = world.nodes.filter(({ kind }) => kind === 'erlang')
  const members = world.nodes.filter(({ kind }) => kind === 'member')
  const kinds: { make: () => Fault; mayBeLong?: boolean }[] = [
    { make: () => killed(pick(erlang, next), 'erl') },
    { make: () => killed(pick(erlang, next), 'agent') },
    { make: () => killed(pick(erlang, next), 'epmd') },
    { make: () => killed(pick(members, next), 'agent') },
    { make: () => functionKilled(world) },
    { make: () => stopped(pick(erlang, next), 'erl'), mayBeLong: true },
    { make: () => stopped(pick(erlang, next), 'agent'), mayBeLong: true },
    { make: () => stopped(pick(members, next), 'agent'), mayBeLong: true },
    { make: () => unplugged(pick(world.nodes, next)), mayBeLong: true },
    { make: () => oneWay(world, ...twoOf(world)) },
    { make: () => lossy(world, pick(world.nodes, next)) },
    { make: () => dnsFlapping(world) },
    { make: () => dnsSilent(world) },
    { make: () => diskFull(world) },
  ]

  function twoOf({ nodes }: World): [ChaosNode, ChaosNode] {
    const from = pick(nodes, next)
    return [
      from,
      pick(
        nodes.filter((node) => node !== from),
        next,
      ),
    ]
  }

  return (isTaken) => {
    // More draws than there are places, so that one that is free is found.
    for (let draw = 0; draw < 100; draw++) {
      const { make, mayBeLong = false } = pick(kinds, next)
      const fault = make()
      const isLong = mayBeLong && next() < 1 / LONG_ONE_IN
      const [least, most] = isLong ? LONG_MS : SHORT_MS
      const lastsMs = between(least, most, next)
      if (!fault.places.some(isTaken)) return { fault, lastsMs }
    }
    return undefined
  }
}
