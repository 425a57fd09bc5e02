import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'

/** An HTTP server on the loopback, for one test. */
export interface Loopback {
  readonly url: string
  /** Resolves at the first request. */
  readonly asked: Promise<void>
}

/** Starts a server on a port of its own, which ends with the test. */
export async function serveLoopback(t: TestContext, handle: RequestListener): Promise<Loopback> {
  const { promise: asked, resolve } = Promise.withResolvers<void>()
  const server = createServer((request, response) => {
    resolve()
    handle(request, response)
  })
  const { promise: listening, resolve: listens } = Promise.withResolvers<void>()
  server.listen(0, '127.0.0.1', listens)
  await listening
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked }
}

/** Answers with `begin` and then, as long as anybody reads, with `chunk` again and again. */
export function flooding(begin = '', chunk = ' '.repeat(1024 * 1024)): RequestListener {
  return (_request, response) => {
    const write = () => {
      while (!response.destroyed && response.write(chunk));
    }
    response.on('drain', write)
    response.write(begin)
    write()
  }
}

/** The address of a port where nobody listens. */
export async function nowhere(): Promise<string> {
  const server = createServer()
  const { promise: listening, resolve: listens } = Promise.withResolvers<void>()
  server.listen(0, '127.0.0.1', listens)
  await listening
  const { port } = server.address() as AddressInfo
  const { promise: closed, resolve: closes } = Promise.withResolvers<void>()
  server.close(() => closes())
  await closed
  return `http://127.0.0.1:${port}`
}

/** Bodies that are no answer of any source, by what they are. */
export const BAD_BODIES: Readonly<Record<string, string>> = {
  'a page instead of JSON': '<!doctype html><title>Log in</title><body>{"members":[]}</body>',
  'an empty body': '',
  'half of a document': '{"members":[{"node":"b@10.0',
  'a deep nesting': '['.repeat(200_000),
  'a deep nesting that closes': `${'['.repeat(50_000)}${']'.repeat(50_000)}`,
  'NUL bytes': '\0'.repeat(64),
  'another type': '"members"',
  nothing: 'null',
  'a list of wrong types': '[1, true, null, {}, []]',
  'members of a wrong type': '{"members":5,"items":5,"nodes":"b@10.0.0.2"}',
}
