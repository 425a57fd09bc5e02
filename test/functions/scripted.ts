import { parseConfig } from '../../core/config.ts'
import type { Member, Observation } from '../../core/member.ts'
import type { Log, Source, SourceContext } from '../../functions/resolvers/source.ts'

type Look = (context: SourceContext) => Promise<Observation>

/** A clock that stands until it is moved. */
export function createClock(): { now: () => number; pass(ms: number): void } {
  let time = Date.UTC(2026, 0, 1)
  return {
    now: () => time,
    pass(ms) {
      time += ms
    },
  }
}

/** A log that remembers what it was told. */
export function createMemoryLog(): Log & {
  lines: { level: string; fields: Record<string, unknown>; message: string }[]
} {
  const lines: { level: string; fields: Record<string, unknown>; message: string }[] = []
  const write = (level: string) => (fields: object, message: string) => {
    lines.push({ level, fields: { ...fields }, message })
  }
  return { lines, debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') }
}

/** A source that says what the test tells it to say, and counts how often it was asked. */
export function createScripted(first: Look): { source: Source<unknown>; say(look: Look): void; asked(): number } {
  let look = first
  let count = 0
  return {
    source: {
      options: { parse: () => ({}) } as never,
      look(_options, context) {
        count++
        return look(context)
      },
    },
    say(next) {
      look = next
    },
    asked: () => count,
  }
}

/** Everybody, as `complete`. */
export function complete(...members: (string | Member)[]): Look {
  return async ({ source, now }) => ({
    source,
    at: now(),
    outcome: 'complete',
    members: members.map((member) => (typeof member === 'string' ? { node: member, status: 'up' } : member)),
  })
}

/** A look that could not look. */
export function failing(error: Error): Look {
  return async () => {
    throw error
  }
}

/** The topologies of a config as a host gets it; sources are `static` and `dns`, for a loader of the test to play. */
export function topologiesOf(topologies: object): ReturnType<typeof parseConfig>['topologies'] {
  return parseConfig({ topologies }, { file: 'test', env: {} }).topologies
}
