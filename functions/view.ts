import type { Member, Observation } from '../core/member.ts'
import { revisionOf } from '../core/revision.ts'
import type { MembersDocument } from '../core/wire.ts'

/** The merged answers of a topology's sources, ready to be sent. */
export interface View {
  readonly revision: string
  /** The revision as a weak validator of RFC 9110, section 8.8.3. */
  readonly etag: string
  /** When the oldest of the answers was asked for, ms since the Unix epoch. */
  readonly at: number
  /** The `MembersDocument` as JSON, its ages as of `time`. */
  render(time: number): string
}

/** What a view says of one source. */
export interface SourceEntry {
  readonly source: string
  readonly outcome: Observation['outcome']
  /** When its answer was asked for; without one, when it failed. */
  readonly at: number
  readonly error?: { code: string; message: string }
}

export interface ViewParts {
  topology: string
  sources: readonly SourceEntry[]
  members: readonly Member[]
  at: number
  stale: boolean
}

/** Makes a view of members that are merged. */
export function createView({ topology, sources, members, at, stale }: ViewParts): View {
  const revision = revisionOf(members, sources)
  const outcome = outcomeOf(sources)
  // The long part is made once an observation; the ages once a millisecond, however many ask within it.
  const membersText = JSON.stringify(members)
  let rendered = { time: Number.NaN, text: '' }

  function render(time: number): string {
    const ageOf = (instant: number) => Math.max(0, time - instant)
    const head: Omit<MembersDocument, 'members'> = {
      topology,
      revision,
      outcome,
      ageMs: ageOf(at),
      stale,
      sources: sources.map(({ at: asked, ...entry }) => ({ ...entry, ageMs: ageOf(asked) })),
    }
    return `${JSON.stringify(head).slice(0, -1)},"members":${membersText}}`
  }

  return {
    revision,
    etag: `W/"${revision}"`,
    at,
    render(time) {
      if (rendered.time !== time) rendered = { time, text: render(time) }
      return rendered.text
    },
  }
}

/** Whether an `If-None-Match` names the view of this tag, by the weak comparison of RFC 9110, section 13.1.2. */
export function isNamed(etag: string, ifNoneMatch = ''): boolean {
  if (ifNoneMatch === etag) return true
  const tags = ifNoneMatch.split(',').map((tag) => tag.trim())
  return tags.some((tag) => tag === '*' || tag === etag || `W/${tag}` === etag)
}

/** A topology without sources is `partial`: nobody said that there is nobody. */
function outcomeOf(sources: readonly SourceEntry[]): Observation['outcome'] {
  if (sources.length === 0) return 'partial'
  if (sources.every(({ outcome }) => outcome === 'complete')) return 'complete'
  return sources.every(({ outcome }) => outcome === 'failed') ? 'failed' : 'partial'
}
