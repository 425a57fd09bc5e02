import { RollcallError } from '../../core/error.ts'
import { membersOf, type Naming, type ObjectReading, readObject } from '../../core/sources/kubernetes-members.ts'
import { type Outcome, outcomeOf } from '../../core/sources/outcome.ts'

/** All objects that the API lists now, read and named. */
export interface Roster {
  /** Takes an object in, or anew. Throws `too_many`. */
  set(object: unknown): void
  delete(name: string): void
  /** What they say together; the same object until something changes. */
  read(): Outcome
}

// Five times the members that a topology takes by default: more are another selector's.
const MAX_ENTRIES = 50_000

/** An empty roster. */
export function createRoster(naming: Naming): Roster {
  const readings = new Map<string, ObjectReading>()
  let entries = 0
  let result: Outcome | undefined

  function remove(name: string): void {
    const reading = readings.get(name)
    if (reading === undefined) return
    entries -= sizeOf(reading)
    readings.delete(name)
    result = undefined
  }

  return {
    set(object) {
      const reading = readObject(object, naming)
      remove(reading.name)
      entries += sizeOf(reading)
      readings.set(reading.name, reading)
      result = undefined
      if (entries <= MAX_ENTRIES) return
      const message = `[kubernetes] expected at most ${MAX_ENTRIES} endpoints, got more: narrow the selector`
      throw new RollcallError('too_many', message)
    },
    delete: remove,
    read: () => (result ??= outcomeOf(membersOf(readings.values(), naming))),
  }
}

function sizeOf({ candidates, flaws }: ObjectReading): number {
  return 1 + candidates.length + flaws.length
}
