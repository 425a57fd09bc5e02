import { spawn } from 'node:child_process'
import { once } from 'node:events'
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
  const url = `http://127.0.0.1:${port}`
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
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, 'exit')
      child.kill('SIGKILL')
      await ended
    },
  }
}
