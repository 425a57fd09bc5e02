import { createClient } from '../../functions/client.ts'
import { systemClock } from '../../functions/clock.ts'

// `node agents-peer.ts URL TOPOLOGY COUNT WAIT_MS` is COUNT clients that wait for changes as an agent does, each on its own. It says
// `ready` when each has listed once and waits, and `heard REVISION MS` for each that hears of another listing, MS since the epoch.
const [url = '', topology = '', count = '0', waitMs = '0'] = process.argv.slice(2)
const { signal } = new AbortController()

async function poll(onFirst: () => void): Promise<void> {
  const client = createClient({ url, topology, retries: 0, timeoutMs: 30_000 })
  let { revision } = await client.members()
  onFirst()
  for (;;) {
    const jittered = Number(waitMs) * (0.8 + 0.2 * Math.random())
    const listing = await client.members({ waitMs: jittered })
    if (!listing.waits) await systemClock.sleep(jittered, signal)
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
