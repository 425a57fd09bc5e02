import { setTimeout } from 'node:timers/promises'
import { programOf } from './node.ts'
import { type Resources, readResources } from './resources.ts'
import type { World } from './world.ts'

/** Who runs, and what each of them has. */
export interface Census {
  /** Those that have ended though nobody ended them. */
  died(): Promise<string[]>
  /** Resolves when no process has more sockets or other handles open than at the beginning; else rejects, naming those that have. */
  settled(): Promise<void>
  /** Those that have more memory than at the beginning. */
  grown(): Promise<string[]>
  /** What each has now. */
  read(): Promise<ReadonlyMap<string, Resources>>
  readonly beginning: ReadonlyMap<string, Resources>
}

// Questions to DNS and to the function hold a socket for a moment, once per interval of 1 s: what is always there is the least of some looks.
const LOOKS = 10
const LOOK_MS = 250
// What V8 keeps of what it has once taken: an agent of 120 MB has had 140 at the most.
const MEMORY_SLACK_BYTES = 32 * 1024 * 1024
// A connection that was idle when its other end died is known to be dead when it is used again, or after its keep-alive.
const SETTLING_MS = 30_000

/** The processes of a world by what they are and where, such as `sidecar app@10.77.0.1`. named is not ours. */
function processesOf({ nodes, function: served }: World): Map<string, number> {
  const all = nodes.flatMap(({ name, kind, pids }) =>
    [...pids].map(([part, pid]) => [`${programOf({ kind }, part)} ${name}`, pid] as const),
  )
  return new Map([...all, ...(served.pid === undefined ? [] : [['function', served.pid] as const])])
}

/** Takes the first count, of a world that is at rest. */
export async function takeCensus(world: World): Promise<Census> {
  async function read(): Promise<Map<string, Resources>> {
    const all = [...processesOf(world)].map(async ([label, pid]) => [label, await readResources(pid)] as const)
    const known = await Promise.all(all)
    return new Map(known.flatMap(([label, resources]) => (resources === undefined ? [] : [[label, resources]])))
  }

  const beginning = await read()
  for (let look = 1; look < LOOKS; look++) {
    await setTimeout(LOOK_MS)
    for (const [label, now] of await read()) beginning.set(label, least(now, beginning.get(label)))
  }

  return {
    beginning,
    read,
    async died() {
      const before = processesOf(world)
      const alive = await read()
      // One that was killed or started meanwhile is no matter.
      return [...processesOf(world)].flatMap(([label, pid]) =>
        before.get(label) === pid && !alive.has(label) ? label : [],
      )
    },
    async grown() {
      return [...(await read())].flatMap(([label, { memoryBytes }]) => {
        const then = beginning.get(label)?.memoryBytes ?? 0
        return memoryBytes > then + MEMORY_SLACK_BYTES ? `${label}: ${memoryBytes} bytes, at first ${then}` : []
      })
    },
    async settled() {
      const deadline = performance.now() + SETTLING_MS
      const open = new Map<string, Resources>()
      for (;;) {
        for (const [label, now] of await read()) open.set(label, least(now, open.get(label)))
        const unsettled = [...open].flatMap(([label, now]) => {
          const then = beginning.get(label)
          const isSame = then === undefined || now.sockets <= then.sockets
          // The BEAM's own files are not ours.
          if (isSame && (label.startsWith('erl ') || now.handles <= (then?.handles ?? Infinity))) return []
          return `${label}: ${now.sockets} sockets of ${now.handles} handles, at first ${then?.sockets} of ${then?.handles}`
        })
        if (unsettled.length === 0) return
        if (performance.now() > deadline)
          throw new Error(`expected what is open to be as it was, got\n${unsettled.join('\n')}`)
        await setTimeout(LOOK_MS)
      }
    },
  }
}

/** Of two looks at one process. */
function least(one: Resources, other: Resources = one): Resources {
  return {
    memoryBytes: one.memoryBytes,
    peakBytes: Math.max(one.peakBytes, other.peakBytes),
    handles: Math.min(one.handles, other.handles),
    sockets: Math.min(one.sockets, other.sockets),
  }
}
