import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { freePort } from './erlang.ts'
import { until } from './until.ts'

/** A real Consul agent, a server by itself that keeps all in memory, on loopback ports of its own. */
export interface Consul {
  readonly url: string
  /** By which the servers of another datacenter join it. */
  readonly wan: string
  /** Asks its HTTP API; throws on anything but 200. */
  call(method: string, path: string, body?: unknown): Promise<string>
  /** Ends it at once by its pid, and waits for the end. */
  kill(): Promise<void>
}

export interface ConsulOptions {
  datacenter: string
  /** The address of its HTTP API, to come back under; a free port by default. */
  port?: number
  /** Another datacenter to join. */
  join?: string
  /** With it nobody without a token may see anything; the one who has this one may do everything. */
  token?: string
}

/** Starts an agent and resolves when it has a leader. */
export async function startConsul({ datacenter, port, join, token }: ConsulOptions): Promise<Consul> {
  const [http, lan, wan, server] = [port ?? (await freePort()), await freePort(), await freePort(), await freePort()]
  const ports = { '-http-port': http, '-serf-lan-port': lan, '-serf-wan-port': wan, '-server-port': server }
  const config = {
    ports: { grpc_tls: -1 },
    ...(join !== undefined && { retry_join_wan: [join] }),
    ...(token !== undefined && {
      acl: { enabled: true, default_policy: 'deny', tokens: { initial_management: token } },
    }),
  }
  const flags = ['-dev', '-node', datacenter, '-datacenter', datacenter, '-bind', '127.0.0.1', '-client', '127.0.0.1']
  const closed = ['-grpc-port', '-1', '-dns-port', '-1']
  const given = ['-hcl', JSON.stringify(config)]
  const numbers = Object.entries(ports).flatMap(([flag, value]) => [flag, String(value)])
  const child = spawn('consul', ['agent', ...flags, ...closed, ...numbers, ...given], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const killWithUs = () => child.kill('SIGKILL')
  process.once('exit', killWithUs)
  child.once('exit', () => process.off('exit', killWithUs))
  const output = collect(child)
  const url = `http://127.0.0.1:${http}`
  const headers = token === undefined ? {} : { 'X-Consul-Token': token }

  async function call(method: string, path: string, body?: unknown): Promise<string> {
    const response = await fetch(`${url}${path}`, {
      method,
      headers,
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    if (response.status === 200) return text
    throw new Error(`${method} ${path}: ${response.status} ${text}`)
  }

  const leads = async () => (await call('GET', '/v1/status/leader')).includes(':')
  const ended = once(child, 'exit').then(() => Promise.reject(new Error(`Consul ended before it was up\n${output()}`)))
  await Promise.race([ended, until(`Consul to lead ${datacenter}`, leads, { hint: output })])
  // Later it may end as it likes.
  ended.catch(() => undefined)
  return {
    url,
    wan: `127.0.0.1:${wan}`,
    call,
    async kill() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const exited = once(child, 'exit')
      child.kill('SIGKILL')
      await exited
    },
  }
}

function collect(child: ChildProcess): () => string {
  let text = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (text += chunk))
  return () => text
}
