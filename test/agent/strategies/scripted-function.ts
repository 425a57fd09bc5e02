import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import type { Member } from '../../../core/member.ts'

export interface Request {
  readonly method: string
  readonly url: string
  readonly headers: IncomingMessage['headers']
  readonly body: Record<string, unknown>
}

/** A function that does what a test tells it, and waits as long as the test lets it. */
export interface ScriptedFunction {
  readonly url: string
  readonly requests: readonly Request[]
  /** Resolves when so many have come. */
  came(count: number): Promise<void>
  /** What it lists from now on; whoever waits is answered. */
  list(members: readonly Member[]): void
  /** Whoever waits is answered that nothing changed. */
  release(): void
  /** Whoever waits is cut off. */
  cut(): void
  /** Other headers of each answer to a GET. */
  readonly headers: Record<string, string>
  /** Takes over what it says to PUT and DELETE; undefined leaves it to the function. */
  refuse: (request: Request) => { status: number; code: string; headers?: Record<string, string> } | undefined
  /** Whether those who ask to wait are held; they are by default. */
  holds: boolean
  ttlMs: number
}

/** Starts it on a port of its own; it ends with the test. Its answers are all of age 0. */
export async function startFunction(t: TestContext, members: readonly Member[] = []): Promise<ScriptedFunction> {
  const requests: Request[] = []
  const counted: { count: number; resolve: () => void }[] = []
  const held = new Set<ServerResponse>()
  let [listed, revision] = [members, 1]

  const server = createServer((message, response) => {
    void handle(message, response)
  })

  async function handle(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', url = '', headers } = message
    const text = (await message.toArray()).join('')
    const request = { method, url, headers, body: text === '' ? {} : JSON.parse(text) }
    answer(request, response)
    requests.push(request)
    for (const { count, resolve } of counted) if (requests.length >= count) resolve()
  }

  function answer(request: Request, response: ServerResponse): void {
    const refused = made.refuse(request)
    if (refused !== undefined) {
      const { status, code, headers } = refused
      response.writeHead(status, { 'Content-Type': 'application/problem+json', ...headers })
      response.end(JSON.stringify({ type: 'about:blank', title: code, status, code, detail: `expected no ${code}` }))
    } else if (request.method !== 'GET') {
      const isWanted = request.headers.prefer === 'return=representation'
      const applied = isWanted ? { 'Preference-Applied': 'return=representation' } : {}
      response.writeHead(200, { ...heads(), ...applied })
      response.end(JSON.stringify({ ttlMs: made.ttlMs, ...(isWanted ? document() : { revision: `r${revision}` }) }))
    } else if (request.headers['if-none-match'] !== `W/"r${revision}"`) {
      response.writeHead(200, { ...heads(), ...made.headers }).end(JSON.stringify(document()))
    } else if (made.holds && request.url.includes('?wait=')) {
      held.add(response)
    } else {
      response.writeHead(304, { ...heads(), ...made.headers }).end()
    }
  }

  function heads(): Record<string, string> {
    return { 'Content-Type': 'application/json', ETag: `W/"r${revision}"`, Age: '0', 'Rollcall-Age-Ms': '0' }
  }

  function document(): object {
    const sources = [{ source: 'registry', outcome: 'complete', ageMs: 0 }]
    const head = { topology: 'web', revision: `r${revision}`, outcome: 'complete', ageMs: 0, stale: false }
    return { ...head, members: listed, sources }
  }

  function letGo(end: (response: ServerResponse) => void): void {
    const all = [...held]
    held.clear()
    for (const response of all) end(response)
  }

  const made: ScriptedFunction = {
    url: '',
    requests,
    headers: {},
    holds: true,
    ttlMs: 30_000,
    refuse: () => undefined,
    came: (count) =>
      new Promise((resolve) => {
        if (requests.length >= count) resolve()
        else counted.push({ count, resolve })
      }),
    list(next) {
      listed = next
      revision++
      letGo((response) => void response.writeHead(200, heads()).end(JSON.stringify(document())))
    },
    release: () => letGo((response) => void response.writeHead(304, heads()).end()),
    cut: () => letGo((response) => void response.destroy()),
  }

  const { promise: listening, resolve: listens } = Promise.withResolvers<void>()
  server.listen(0, '127.0.0.1', listens)
  await listening
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return Object.assign(made, { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })
}
