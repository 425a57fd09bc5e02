import type { Member } from '../../core/member.ts'
import { plan } from '../../core/plan.ts'
import { defaultPolicy } from '../../core/policy.ts'
import type { State } from '../../core/state.ts'
import { elapsedMs, type Figure, formatMs, median } from './figure.ts'

const SELF = 'self@127.0.0.1'
const INTERVAL_MS = 5_000
const START = 1_800_000_000_000
const policy = { ...defaultPolicy, maxMembers: 1_000_000 }

interface Answer {
  readonly now: number
  readonly members: Member[]
  readonly links: string[]
}

/** `plan()` in the steady state and while 1% of the members are replaced with each answer, against a kept set of names. */
export async function planFigures(): Promise<Figure[]> {
  const figures: Figure[] = []
  for (const size of [100, 1_000, 10_000, 100_000]) {
    figures.push(await planFigure(`plan(), ${size} members, steady`, size, 0))
    figures.push(await planFigure(`plan(), ${size} members, 1% replaced per answer`, size, 0.01))
  }
  return figures
}

/** Bytes of the state per peer, as JSON. */
export function stateFigures(): Figure[] {
  const SIZE = 10_000
  const steady = decide(undefined, answerOf({ round: 0, from: 0, size: SIZE }))
  let unlinked: State | undefined
  // Two rounds make a failed dial (10 s); some failures later the penalties have all their digits.
  for (let round = 0; round < 12; round++) {
    const answer = { ...answerOf({ round, from: 0, size: SIZE }), links: [] }
    unlinked = decide(unlinked, answer, { ...policy, dialsPerRound: SIZE })
  }
  return [
    stateFigure('state per peer, steady', steady, SIZE),
    stateFigure('state per peer, all unlinked with penalties', unlinked, SIZE),
  ]
}

function stateFigure(name: string, state: State | undefined, size: number): Figure {
  const value = JSON.stringify(state).length / size
  return { name, subject: `${value.toFixed(0)} bytes`, floor: 'none', value, unit: 'bytes', aim: { atMost: 300 } }
}

async function planFigure(name: string, size: number, share: number): Promise<Figure> {
  // Small ones in batches, so that each timed run is far longer than the clock's grain.
  const batch = Math.ceil(10_000 / size)
  const rounds = 21
  const warmup = size > 10_000 ? 15 : 60
  const subjects: number[] = []
  const floors: number[] = []
  let state: State | undefined
  let kept: ReadonlySet<string> = new Set()
  for (let run = 0; run < warmup + rounds; run++) {
    const steps = Array.from({ length: batch }, (_, step) => run * batch + step)
    const arrive = () => steps.map((round) => answerOf({ round, from: Math.floor(round * share * size), size }))
    // Each side has names of its own: whoever came second would find their hashes computed.
    const floorAnswers = arrive()
    const answers = arrive()
    const floorMs = await elapsedMs(() => {
      for (const { members } of floorAnswers) kept = difference(kept, members).names
    })
    const subjectMs = await elapsedMs(() => {
      for (const answer of answers) state = decide(state, answer)
    })
    if (run < warmup) continue
    floors.push(floorMs / batch)
    subjects.push(subjectMs / batch)
  }
  const [subjectMs, floorMs] = [median(subjects), median(floors)]
  return {
    name,
    subject: formatMs(subjectMs),
    floor: formatMs(floorMs),
    value: subjectMs / floorMs,
    unit: 'x',
    aim: { atMost: 3 },
  }
}

function decide(state: State | undefined, { now, members, links }: Answer, rules = policy): State {
  const observation = { source: 'bench', at: now, outcome: 'complete', members } as const
  const web = { sources: ['bench'], intervalMs: INTERVAL_MS, policy: rules, observations: [observation] }
  return plan(state, { self: SELF, now, links, topologies: { web } }).state
}

/** The floor: the least that can be done to learn what changed. */
function difference(
  kept: ReadonlySet<string>,
  members: readonly Member[],
): { names: Set<string>; added: string[]; removed: string[] } {
  const names = new Set<string>()
  for (const { node } of members) names.add(node)
  const added: string[] = []
  const removed: string[] = []
  for (const name of names) if (!kept.has(name)) added.push(name)
  for (const name of kept) if (!names.has(name)) removed.push(name)
  return { names, added, removed }
}

/** An answer that lists self and `size` others, all linked: fresh objects and fresh names, as they come off the wire, in order, as every source gives them. */
function answerOf({ round, from, size }: { round: number; from: number; size: number }): Answer {
  const nodes = Array.from({ length: size }, (_, index) => nodeAt(from + index))
  const members = [SELF, ...nodes].sort().map((node) => ({ node, status: 'up' }))
  return {
    now: START + round * INTERVAL_MS,
    members: JSON.parse(JSON.stringify(members)) as Member[],
    links: JSON.parse(JSON.stringify(nodes)) as string[],
  }
}

function nodeAt(index: number): string {
  return `app@10.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}`
}
