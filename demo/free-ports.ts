import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { HOST } from './configs.ts'

// Below the ports that systems give to outgoing connections (from 32768 on Linux, 49152 elsewhere): one of those could take
// the port of a node that was killed before it is back. Where to begin is random, for demos that start at the same time.
const FIRST_PORT = randomInt(20_000, 32_000)
const LAST_PORT = 32_767

/** Ports of loopback that nobody listens at now. */
export async function freePorts(count: number): Promise<number[]> {
  const free: number[] = []
  for (let port = FIRST_PORT; port <= LAST_PORT && free.length < count; port++) {
    if (await isFree(port)) free.push(port)
  }
  if (free.length < count)
    throw new Error(`expected ${count} free ports from ${FIRST_PORT} to ${LAST_PORT}, got ${free.length}`)
  return free
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer()
  try {
    server.listen(port, HOST)
    await once(server, 'listening')
  } catch {
    return false
  }
  server.close()
  await once(server, 'close')
  return true
}
