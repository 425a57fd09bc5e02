import { createAdaptorServer } from '@hono/node-server'
import { createBareTopology } from './bare-waits.ts'

// The floor on Node: over the same HTTP server as `rollcall serve`.
const server = createAdaptorServer({ fetch: createBareTopology() })
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  if (address !== null && typeof address === 'object') process.stdout.write(`http://127.0.0.1:${address.port}\n`)
})
