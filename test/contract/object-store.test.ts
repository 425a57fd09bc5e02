import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { RollcallError } from '../../core/error.ts'
import { freePort } from '../peers/erlang.ts'
import { until } from '../peers/until.ts'
import { describeStore, type StoreHost } from './store-contract.ts'
import { TTL_MS } from './store-instance.ts'
import type { StoreCall } from './store-worker.ts'

// Not its bin, which is a parent of this that hands no signal on.
const WRANGLER = fileURLToPath(new URL('../../node_modules/wrangler/wrangler-dist/cli.js', import.meta.url))
const CONFIG = fileURLToPath(new URL('object-store.toml', import.meta.url))

interface ObjectHost extends StoreHost {
  ask(call: StoreCall): Promise<Response>
}

/** Objects in a workerd whose storage is on disk, as Cloudflare's is. */
async function startObjects(): Promise<ObjectHost> {
  const folder = await mkdtemp(join(tmpdir(), 'rollcall-object-'))
  const port = await freePort()
  let end = await start()

  async function start(): Promise<() => Promise<void>> {
    const flags = ['--port', `${port}`, '--ip', '127.0.0.1', '--inspector-port', '0', '--persist-to', folder]
    const child = spawn(process.execPath, [WRANGLER, 'dev', '--config', CONFIG, ...flags], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, CLOUDFLARE_CF_FETCH_ENABLED: 'false', WRANGLER_SEND_METRICS: 'false' },
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => (output = (output + text).slice(-4_000)))
    }
    await until('workerd to answer', async () => (await ask({ topology: 'up', now: 0 })).ok, { hint: () => output })
    return async () => {
      const ended = once(child, 'exit')
      child.kill('SIGTERM')
      await ended
    }
  }

  function ask(call: StoreCall): Promise<Response> {
    return fetch(`http://127.0.0.1:${port}`, { method: 'POST', body: JSON.stringify(call) })
  }

  async function answer<Answer>(call: StoreCall): Promise<Answer> {
    const response = await ask(call)
    const body = (await response.json()) as Answer & { code: string; message: string }
    if (response.ok) return body
    throw new RollcallError(body.code, body.message)
  }

  return {
    ask,
    open: async (topology) => ({
      claim: (claim, now) => answer({ topology, now, claim }),
      release: (release, now) => answer({ topology, now, release }),
      look: (now) => answer({ topology, now }),
    }),
    async restart() {
      await end()
      end = await start()
    },
    async close() {
      await end()
      await rm(folder, { recursive: true })
    },
  }
}

describeStore({ name: 'a Durable Object', survives: true, start: startObjects })

describe('the alarm of a Durable Object', () => {
  let host: ObjectHost

  before(async () => {
    host = await startObjects()
  })
  after(async () => await host?.close())

  it('deletes what has ended, and comes again only while there is something left', async () => {
    const topology = 'swept'
    const instance = await host.open(topology)
    const now = Date.now()
    await instance.claim({ node: 'a@h', id: '1' }, now)
    const swept = async (time: number) => {
      const response = await host.ask({ topology, now: time, sweep: true })
      return (await response.json()) as { rows: number; alarm: number }
    }
    for (let passed = 0; passed <= 3 * TTL_MS; passed += TTL_MS / 3) {
      await instance.claim({ node: 'b@h', id: '1' }, now + passed)
      if (passed === TTL_MS) assert.equal((await swept(now + passed)).rows, 3, 'two leases and the clock')
    }
    const { rows, alarm } = await swept(now + 3 * TTL_MS)
    assert.equal(rows, 2)
    assert.ok(alarm > now && alarm <= now + 5 * TTL_MS, 'a few leases after the first write')
    assert.equal((await swept(now + 10 * TTL_MS)).rows, 1)
  })
})
