import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, it } from 'node:test'
import { type Config, parseConfig } from '../../core/config.ts'
import { serve } from '../../functions/node.ts'
import { createMemoryLog } from '../functions/scripted.ts'
import { describeContract, refusal } from './contract.ts'

const TOPOLOGIES = { web: { sources: [{ static: { nodes: ['a@h'] } }] } }

function configOf(raw: object): Config {
  return parseConfig(raw, { file: 'test', env: {} })
}

describeContract({
  name: 'Node',
  registry: {},
  waits: 'everywhere',
  async start(config) {
    const { url, close } = await serve({ config: configOf(config), log: createMemoryLog(), port: 0 })
    return { fetch: (path, init) => fetch(url + path, init), close }
  },
})

describe('serve', () => {
  const log = createMemoryLog()
  const open = configOf({ topologies: TOPOLOGIES })

  /** With a Host of one's own, which fetch does not allow. */
  async function statusUnder(url: string, host: string): Promise<number | undefined> {
    const sent = request(`${url}/v1/topologies`, { headers: { host } }).end()
    const [response] = await once(sent, 'response')
    response.resume()
    return response.statusCode
  }

  it('without auth answers this machine, and no name that a foreign site may have for it', async (t) => {
    const { url, close } = await serve({ config: open, log, port: 0 })
    t.after(close)
    const { port } = new URL(url)
    for (const host of [
      'localhost',
      `localhost:${port}`,
      'LOCALHOST',
      '127.0.0.1',
      `127.1.2.3:${port}`,
      '[::1]',
      `[::1]:${port}`,
    ]) {
      assert.equal(await statusUnder(url, host), 200, host)
    }
    for (const host of [
      'evil.test',
      `evil.test:${port}`,
      'localhost.evil.test',
      '127.0.0.1.evil.test',
      '10.0.0.1',
      '[::2]',
      '0.0.0.0',
    ]) {
      assert.equal(await statusUnder(url, host), 403, host)
    }
  })

  it('without auth refuses to listen where others could reach it', async () => {
    for (const host of ['0.0.0.0', '::', '10.0.0.1', 'example.com', '']) {
      await assert.rejects(serve({ config: open, log, port: 0, host }), {
        code: 'auth_not_configured',
        message: /auth: none/,
      })
    }
  })

  it('with auth, or by the word none, listens where it is told and answers under any name', async (t) => {
    const { url, close } = await serve({
      config: configOf({ topologies: TOPOLOGIES, auth: 'none' }),
      log,
      port: 0,
      host: '0.0.0.0',
    })
    t.after(close)
    assert.equal(await statusUnder(url, 'discovery.test'), 200)
  })

  it('listens on IPv6', async (t) => {
    const { url, close } = await serve({ config: open, log, port: 0, host: '::1' })
    t.after(close)
    assert.match(url, /^http:\/\/\[::1\]:\d+$/)
    assert.equal((await fetch(`${url}/healthz`)).status, 200)
  })

  it('is ready once its sources have answered', async (t) => {
    const { url, close } = await serve({ config: open, log, port: 0 })
    t.after(close)
    assert.equal((await fetch(`${url}/readyz`)).status, 200)
  })

  it('says which port is taken, and which host is not one', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as AddressInfo
    await assert.rejects(serve({ config: open, log, port }), {
      code: 'port_in_use',
      message: new RegExp(`port ${port} `),
    })
    other.close()
    await once(other, 'close')
    const config = configOf({ topologies: TOPOLOGIES, auth: 'none' })
    await assert.rejects(serve({ config, log, port: 0, host: '192.0.2.1' }), {
      code: 'listen',
      message: /192\.0\.2\.1/,
    })
  })

  it('refuses a topology that only an agent can look up', async () => {
    const config = configOf({ topologies: { web: { sources: [{ exec: { command: ['ls'] } }] } } })
    await assert.rejects(serve({ config, log, port: 0 }), { code: 'config', message: /source exec/ })
  })

  it('gives those under way their answer when it is closed, and takes no more', async (t) => {
    const { url, close } = await serve({ config: open, log, port: 0 })
    t.after(close)
    const headers = { expect: '100-continue' }
    const upload = request(`${url}/v1/topologies/web/plan`, { method: 'POST', headers })
    upload.write('{"self":"a@h",')
    await once(upload, 'continue')
    const answered = once(upload, 'response')
    const closed = close()
    await assert.rejects(fetch(`${url}/healthz`))
    upload.end('"connected":[]}')
    const [response] = await answered
    assert.equal(response.statusCode, 200)
    response.resume()
    await closed
  })

  it('answers what a proxy or a browser would not send with a status, not with silence', async (t) => {
    const { url, close } = await serve({ config: open, log, port: 0 })
    t.after(close)
    assert.deepEqual(await refusal(await fetch(`${url}/v1/topologies/%00/members`)), [404, 'unknown_topology'])
  })
})
