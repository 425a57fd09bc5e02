import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { test, type TestContext } from 'node:test'
import { parseConfig } from '../../core/config.ts'
import { serve } from '../../functions/node.ts'

const config = parseConfig(
  { topologies: { web: { sources: [{ static: { nodes: ['app@10.0.0.1'] } }] } } },
  { file: 'test', env: {} },
)

async function served(t: TestContext): Promise<URL> {
  const log = { debug() {}, info() {}, warn() {}, error() {} }
  const { url, close } = await serve({ config, log, port: 0, requestTimeoutMs: 200 })
  t.after(close)
  return new URL(url)
}

/** What the host says to these bytes before it closes. */
async function answerTo(url: URL, bytes: string): Promise<string> {
  const socket = connect({ host: url.hostname, port: Number(url.port) })
  let answer = ''
  socket.on('data', (chunk: Buffer) => (answer += chunk.toString()))
  socket.on('error', () => {})
  socket.write(bytes)
  await new Promise((resolve) => socket.once('close', resolve))
  return answer
}

const head = (url: URL) => `POST /v1/topologies/web/plan HTTP/1.1\r\nHost: ${url.host}\r\n`

for (const [what, send] of [
  ['a body that does not come', (url: URL) => `${head(url)}Content-Length: 1000\r\n\r\n{`],
  ['headers that do not end', (url: URL) => `${head(url)}X-Slow: 1\r\n`],
] as const) {
  test(`${what} ends with its own connection, and others are answered meanwhile`, async (t) => {
    const url = await served(t)
    const slow = Promise.all(Array.from({ length: 50 }, () => answerTo(url, send(url))))
    const answer = await fetch(new URL('/v1/topologies/web/members', url))
    assert.equal(answer.status, 200)
    await answer.body?.cancel()
    for (const text of await slow) assert.match(text, /^HTTP\/1\.1 408 /)
  })
}

test('a flood of headers is refused before it is read', async (t) => {
  const url = await served(t)
  const flood = `${head(url)}${'X-Flood: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n'.repeat(100_000)}\r\n`
  assert.match(await answerTo(url, flood), /^(HTTP\/1\.1 431 .*)?$/s)
  const answer = await fetch(new URL('/healthz', url))
  assert.equal(answer.status, 200)
  await answer.body?.cancel()
})

test('what is no HTTP is answered 400 and closed', async (t) => {
  const url = await served(t)
  assert.match(await answerTo(url, '\0\x01\x02 nonsense\r\n\r\n'), /^HTTP\/1\.1 400 /)
})

test('an idle connection is closed in the end', async (t) => {
  const url = await served(t)
  const socket = connect({ host: url.hostname, port: Number(url.port) })
  await once(socket, 'connect')
  socket.resume()
  await new Promise((resolve) => socket.once('close', resolve))
})

test('without auth a page of another site cannot ask under a name of its own (DNS rebinding)', async (t) => {
  const url = await served(t)
  const ask = (host: string) =>
    answerTo(url, `GET /v1/topologies/web/members HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
  const refused = await ask(`rebound.example:${url.port}`)
  assert.match(refused, /^HTTP\/1\.1 403 /)
  assert.match(refused, /"code":"host_forbidden"/)
  assert.doesNotMatch(refused, /10\.0\.0\.1/)
  assert.match(await ask(`localhost:${url.port}`), /^HTTP\/1\.1 200 /)
})
