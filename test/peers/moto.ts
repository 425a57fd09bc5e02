import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type IncomingMessage, request as ask } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { freePort } from './erlang.ts'
import { until } from './until.ts'

/** What stands for AWS on the wire: EC2, Cloud Map and DynamoDB, kept in memory, on a loopback port of its own. */
export interface Moto {
  readonly url: string
  /** Forgets everything. */
  reset(): Promise<void>
  /** Ends it by its pid, and waits for the end. */
  kill(): Promise<void>
}

/** Starts one and resolves when it answers. */
export async function startMoto(): Promise<Moto> {
  const port = await freePort()
  const turns = await startTurns(port)
  const { url } = turns
  // Under a reloader the server would be a child of the pid that is known.
  const child = spawn('moto_server', ['-H', '127.0.0.1', '-p', String(port)], { stdio: ['ignore', 'ignore', 'pipe'] })
  const killWithUs = () => child.kill('SIGKILL')
  process.once('exit', killWithUs)
  child.once('exit', () => process.off('exit', killWithUs))
  let output = ''
  child.stderr.on('data', (chunk: Buffer) => (output = (output + chunk.toString()).slice(-4_000)))

  async function reset(): Promise<void> {
    const response = await fetch(`${url}/moto-api/reset`, { method: 'POST' })
    if (!response.ok) throw new Error(`expected moto to be reset, got ${response.status}`)
  }
  await until('moto to answer', async () => (await reset(), true), { hint: () => output })
  return {
    url,
    reset,
    async kill() {
      turns.close()
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, 'exit')
      child.kill('SIGKILL')
      await ended
    },
  }
}

/**
 * Lets one request at a time to that port. Moto answers in many threads without a lock: of two exclusive conditional writes to
 * DynamoDB both may succeed, and a transaction that fails sets its whole table back to what it was when that began, undoing what
 * others wrote meanwhile. DynamoDB does neither.
 */
async function startTurns(port: number): Promise<{ url: string; close: () => void }> {
  let last: Promise<unknown> = Promise.resolve()
  const server = createServer((request, response) => {
    const { method, url, headers } = request
    const forward = async (body: Buffer): Promise<void> => {
      const asked = ask({ host: '127.0.0.1', port, method, path: url, headers })
      asked.end(body)
      const [answer] = (await once(asked, 'response')) as [IncomingMessage]
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      await pipeline(answer, response)
    }
    last = Promise.all([buffer(request), last])
      .then(([body]) => forward(body))
      // Whoever asked has gone, or moto is not there (yet): the asker sees its connection end.
      .catch(() => response.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  // Where moto does not come up, nobody closes it.
  server.unref()
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      server.closeAllConnections()
      server.close()
    },
  }
}
