import { createClient } from '../../functions/client.ts'
import { jitter, systemClock } from '../../functions/clock.ts'

// `node agents-peer.ts URL TOPOLOGY COUNT WAIT_MS INTERVAL_MS` is COUNT clients that wait for changes, or ask at the interval where they
// may not, as an agent does, each on its own. It says
// `ready` when each has listed once and waits, and `heard REVISION MS` for each that hears of another listing, MS since the epoch.
const [url = '', topology = '', count = '0', waitMs = '0', intervalMs = '0'] = process.argv.slice(2)
const { signal } = new AbortController()

async function poll(onFirst: () => void): Promise<void> {
  const client = createClient({ url, topology, timeoutMs: 30_000 })
  let { revision } = await client.members()
  onFirst()
  for (;;) {
    const listing = await client.members({ waitMs: jitter(Number(waitMs), systemClock) })
    if (!listing.waits) await systemClock.sleep(jitter(Number(intervalMs), systemClock), signal)
    if (listing.revision === revision) continue
    revision = listing.revision
    process.stdout.write(`heard ${revision} ${performance.timeOrigin + performance.now()}\n`)
  }
}

let waiting = 0
const clients = Array.from({ length: Number(count) }, () =>
  poll(() => {
    if (++waiting === Number(count)) process.stdout.write('ready\n')
  }),
)
await Promise.all(clients)
