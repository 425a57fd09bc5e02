import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { decode, encode } from 'dns-packet'

/** How a name is answered: by addresses, by SERVFAIL, or not at all until it is given something else. */
export type Saying = readonly string[] | 'servfail' | 'silence'

/** A DNS server over HTTP on a loopback port: every host can ask it, and it counts. */
export interface Upstream {
  /** As the `server` option of a dns source takes it. */
  readonly server: string
  say(name: string, saying: Saying): void
  asked(name: string): number
  /** Resolves when the name was asked for the given number of times in all. */
  whenAsked(name: string, times: number): Promise<void>
  close(): Promise<void>
}

/** Starts it; a name of which nothing was said is a SERVFAIL. */
export async function startUpstream(): Promise<Upstream> {
  const sayings = new Map<string, Saying>()
  const counts = new Map<string, number>()
  const wakers = new Set<() => void>()
  const changed = () => {
    for (const wake of wakers) wake()
  }

  async function until(isTrue: () => boolean): Promise<void> {
    while (!isTrue()) {
      const { promise, resolve } = Promise.withResolvers<void>()
      wakers.add(resolve)
      await promise
      wakers.delete(resolve)
    }
  }

  const server = createServer((request, response) => {
    void (async () => {
      const { id, questions = [] } = decode(await buffer(request))
      const name = questions[0]?.name ?? ''
      counts.set(name, (counts.get(name) ?? 0) + 1)
      changed()
      await until(() => sayings.get(name) !== 'silence' || response.destroyed)
      const saying = sayings.get(name)
      const addresses = typeof saying === 'object' ? saying : []
      response.setHeader('content-type', 'application/dns-message')
      response.end(
        encode({
          type: 'response',
          id: id ?? 0,
          // 128: recursion available; 2: SERVFAIL
          flags: typeof saying === 'object' ? 128 : 2,
          questions,
          answers: addresses.map((data) => ({ type: 'A', class: 'IN', name, ttl: 0, data })),
        }),
      )
    })()
    response.once('close', changed)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  return {
    server: `http://127.0.0.1:${(server.address() as AddressInfo).port}/dns-query`,
    say(name, saying) {
      sayings.set(name, saying)
      changed()
    },
    asked: (name) => counts.get(name) ?? 0,
    whenAsked: (name, times) => until(() => (counts.get(name) ?? 0) >= times),
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
