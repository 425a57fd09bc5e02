import { isForgotten, type Lease, type RegistryClock, startClock } from '../../core/lease.ts'
import type { OpenStore } from './store.ts'

/** What of a Durable Object's storage is used: https://developers.cloudflare.com/durable-objects/api/sqlite-storage-api/ */
export interface ObjectStorage {
  readonly sql: {
    exec(query: string, ...values: (string | number)[]): { toArray(): Record<string, unknown>[] }
  }
  transactionSync<Result>(work: () => Result): Result
  getAlarm(): Promise<number | null>
  setAlarm(time: number): Promise<void>
}

/** What stands in the row of the clock. */
interface KeptClock {
  readonly clock: RegistryClock
  /** For the alarm, which comes without a request and its topology. */
  readonly ttlMs: number
}

// No node has a name without an @.
const CLOCK = '#clock'
const UPSERT = 'INSERT INTO leases (node, value) VALUES (?, ?) ON CONFLICT (node) DO UPDATE SET value = excluded.value'

/** Keeps the leases in the SQLite storage of the Durable Object that owns the topology, whose clock they run by. */
export function createObjectStore(storage: ObjectStorage): OpenStore {
  return async ({ options: { ttl: ttlMs }, context: { now } }) => {
    prepare(storage)
    return {
      async read() {
        const kept = readClock(storage)
        return { clock: kept?.clock ?? startClock(now()), leases: readLeases(storage) }
      },

      async change(node, decide) {
        const change = storage.transactionSync(() => {
          const made = decide(readRow<Lease>(storage, node), readClock(storage)?.clock ?? startClock(now()))
          if (made.write === undefined) return made
          const kept: KeptClock = { clock: made.write.clock, ttlMs }
          storage.sql.exec(UPSERT, node, JSON.stringify(made.write.lease))
          storage.sql.exec(UPSERT, CLOCK, JSON.stringify(kept))
          return made
        })
        if (change.write !== undefined) await wakeLater(storage, now() + sweepMs(ttlMs))
        return change
      },
    }
  }
}

/** Deletes the leases that have ended, and comes again while there are others. For the alarm of the object. */
export async function sweep(storage: ObjectStorage, now: number): Promise<void> {
  prepare(storage)
  const kept = readClock(storage)
  if (kept === undefined) return
  const { ttlMs } = kept
  const leases = readLeases(storage)
  const forgotten = leases.filter((lease) => isForgotten(lease, { ...kept, now }))
  for (const { member } of forgotten) storage.sql.exec('DELETE FROM leases WHERE node = ?', member.node)
  if (forgotten.length < leases.length) await wakeLater(storage, now + sweepMs(ttlMs))
}

/** A tombstone lasts two leases, an ended lease is kept for one more: rarely enough for an object that nobody asks. */
function sweepMs(ttlMs: number): number {
  return 4 * ttlMs
}

async function wakeLater(storage: ObjectStorage, time: number): Promise<void> {
  if ((await storage.getAlarm()) === null) await storage.setAlarm(time)
}

function prepare(storage: ObjectStorage): void {
  storage.sql.exec('CREATE TABLE IF NOT EXISTS leases (node TEXT PRIMARY KEY, value TEXT NOT NULL)')
}

function readClock(storage: ObjectStorage): KeptClock | undefined {
  return readRow<KeptClock>(storage, CLOCK)
}

function readRow<Value>(storage: ObjectStorage, node: string): Value | undefined {
  const [row] = storage.sql.exec('SELECT value FROM leases WHERE node = ?', node).toArray()
  return row && (JSON.parse(row['value'] as string) as Value)
}

function readLeases(storage: ObjectStorage): Lease[] {
  const rows = storage.sql.exec('SELECT value FROM leases WHERE node <> ?', CLOCK).toArray()
  return rows.map(({ value }) => JSON.parse(value as string) as Lease)
}
