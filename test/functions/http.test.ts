import assert from 'node:assert/strict'
import type { RequestListener } from 'node:http'
import { describe, it, type TestContext } from 'node:test'
import { gzipSync } from 'node:zlib'
import { type HttpRequest, jsonOf, refusal, send } from '../../functions/http.ts'
import { flooding, nowhere, serveLoopback } from '../contract/loopback.ts'
import { createFakeLog } from '../agent/fakes.ts'
import { createManualClock } from '../agent/manual-clock.ts'

const KB = 1024

function context({ signal = new AbortController().signal } = {}) {
  return { source: 'web', signal, now: () => 1_000, log: createFakeLog(), fetch }
}

async function ask(t: TestContext, handle: RequestListener, rest: Partial<HttpRequest> = {}) {
  const { url } = await serveLoopback(t, handle)
  return await send({ part: 'web', target: `${url}/list`, timeoutMs: 5_000, maxBytes: 64 * KB, ...rest }, context())
}

describe('a GET of a source', () => {
  it('accepts JSON, sends its headers, and gives the whole answer of any status', async (t) => {
    const answer = await ask(
      t,
      (request, response) => {
        response
          .writeHead(503, { 'X-Index': '7' })
          .end(`${request.headers.accept} ${request.headers['x-token'] as string}`)
      },
      { headers: { 'X-Token': 'secret' } },
    )
    assert.equal(answer.status, 503)
    assert.equal(answer.text, 'application/json secret')
    assert.equal(answer.headers.get('x-index'), '7')
    assert.deepEqual([answer.sentAt, answer.receivedAt], [1_000, 1_000])
  })

  it('follows no redirect: it would take the token along', async (t) => {
    let led = 0
    const elsewhere = await serveLoopback(t, (_request, response) => void response.end(String(led++)))
    const answer = await ask(
      t,
      (_request, response) => void response.writeHead(302, { Location: elsewhere.url }).end(),
      {
        headers: { 'X-Token': 'secret' },
      },
    )
    const error = refusal(answer, { advice: {} })
    assert.equal(error.code, 'http_302')
    assert.match(error.message, /^\[web\] expected 200 from .*\/list, got 302 to http:.*: check url$/)
    assert.equal(led, 0)
  })

  it('reads no more than it may, compressed or not', async (t) => {
    await assert.rejects(ask(t, flooding()), { code: 'bad_answer', message: /at most 65536 bytes of .*, got more$/ })
    const bomb = gzipSync(Buffer.alloc(32 * KB * KB))
    assert.ok(bomb.length < 64 * KB)
    await assert.rejects(
      ask(t, (_request, response) => void response.writeHead(200, { 'Content-Encoding': 'gzip' }).end(bomb)),
      { code: 'bad_answer' },
    )
  })

  it('is given up when head or body do not come in time, and says so by what messages call it', async (t) => {
    for (const begin of [undefined, '[']) {
      const clock = createManualClock()
      const { promise: asked, resolve } = Promise.withResolvers<void>()
      const asking = ask(
        t,
        (_request, response) => {
          if (begin !== undefined) response.write(begin)
          resolve()
        },
        { clock, shown: 'http://web/list' },
      )
      await asked
      const rejected = assert.rejects(asking, {
        code: 'timeout',
        message: '[web] expected an answer of http://web/list within 5000 ms, got none',
      })
      await clock.advance(5_000)
      await rejected
      assert.equal(clock.sleeping(), 0)
    }
  })

  it('ends with the signal, for its reason', async (t) => {
    const ended = new AbortController()
    const { url, asked } = await serveLoopback(t, () => undefined)
    const request = { part: 'web', target: url, timeoutMs: 5_000, maxBytes: KB }
    const asking = send(request, context({ signal: ended.signal }))
    await asked
    ended.abort(new Error('enough'))
    await assert.rejects(asking, new Error('enough'))
  })

  it('says why nobody could be reached', async () => {
    const target = await nowhere()
    const asking = send({ part: 'web', target, timeoutMs: 5_000, maxBytes: KB }, context())
    await assert.rejects(asking, { code: 'unreachable', message: /got ECONNREFUSED: check url/ })
  })
})

describe('an answer of HTTP', () => {
  it('that is refused says what the other side said, on one short line', async (t) => {
    const body = `No cluster leader\u001b[31m${'x'.repeat(500)}\nat line 2`
    const answer = await ask(t, (_request, response) => void response.writeHead(500).end(body))
    const { message } = refusal(answer, { advice: { 500: 'has it a leader?' } })
    assert.match(message, /, got 500 No cluster leader\?\[31mx+: has it a leader\?$/)
    assert.ok(message.length < 250)
    assert.match(refusal(answer, { advice: {}, detail: 'no_leader' }).message, /, got 500 no_leader: check url$/)
  })

  it('that is no JSON is told by how it begins', async (t) => {
    for (const [body, got] of [
      ['<html>\n<body>', /got "<html>\\n<body>": check url$/],
      ['', /got an empty body: check url$/],
      ['\0\0', /got "\\u0000\\u0000": check url$/],
      ['['.repeat(60_000), /got "\[{40}": check url$/],
    ] as const) {
      const answer = await ask(t, (_request, response) => void response.end(body))
      assert.throws(() => jsonOf(answer), { code: 'bad_answer', message: got })
    }
    assert.deepEqual(jsonOf(await ask(t, (_request, response) => void response.end('null'))), null)
  })
})
