import { type ChildProcess, spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'

/** A real BIND on a port of its own; its files live in a temporary folder that `stop` removes. */
export interface Named {
  readonly address: string
  readonly port: number
  /** `udp://address:port`, as the `server` option takes it. */
  readonly server: string
  /** Sends lines of nsupdate(1), such as `update add web.example.test 0 A 10.0.0.1`; resolves once they are served. */
  update(...lines: string[]): Promise<void>
  /** From now on every question about this zone is a SERVFAIL: named is told that it is a secondary whose primary is gone. */
  breakZone(origin: string): Promise<void>
  /** Serves a broken zone again, with all its records. */
  mendZone(origin: string): Promise<void>
  /** Freezes the process: from then on questions arrive and are not answered until `resume`. */
  pause(): Promise<void>
  resume(): void
  stop(): Promise<void>
}

export interface NamedOptions {
  /** Records in zone-file lines by origin (`example.test`, `0.0.10.in-addr.arpa`); SOA, NS and a TTL of 0 are put before them. */
  zones: Readonly<Record<string, readonly string[]>>
  /** Further zone clauses of named.conf(5). */
  config?: string
  /** Where it runs and listens: here, at loopback, by default. */
  host?: { readonly address: string; readonly enter: readonly string[] }
}

const LOOPBACK = { address: '127.0.0.1', enter: [] }

/** Starts named and waits until it has loaded its zones. Throws with its log when it ends before that. */
export async function startNamed({ zones, config = '', host = LOOPBACK }: NamedOptions): Promise<Named> {
  const folder = await mkdtemp(join(tmpdir(), 'rollcall-named-'))
  const { address, enter } = host
  const port = await freePort()
  const configFile = join(folder, 'named.conf')
  const broken = new Set<string>()
  for (const [origin, records] of Object.entries(zones)) {
    await writeFile(join(folder, origin), zoneText(origin, records))
  }
  await writeFile(configFile, configText({ folder, address, port, origins: Object.keys(zones), broken, config }))

  const child = start('named', ['-g', '-c', configFile, '-n', '1'], enter)
  const log = collect(child)
  try {
    await logged(child, / running$/m)
    // A zone with a mistake is a SERVFAIL to named, and a bewildering test.
    if (log().includes('not loaded due to errors')) throw new Error(`expected sound zones, got: ${log()}`)
  } catch (error) {
    await end(child)
    await rm(folder, { recursive: true, force: true })
    throw error
  }

  async function reload(): Promise<void> {
    await writeFile(configFile, configText({ folder, address, port, origins: Object.keys(zones), broken, config }))
    const done = logged(child, / all zones loaded$/m)
    child.kill('SIGHUP')
    await done
  }

  return {
    address,
    port,
    server: `udp://${address}:${port}`,
    async update(...lines) {
      const nsupdate = start('nsupdate', ['-v'], enter)
      const output = collect(nsupdate)
      nsupdate.stdin?.end([`server ${address} ${port}`, ...lines, 'send', ''].join('\n'))
      const [code] = await once(nsupdate, 'close')
      if (code !== 0) throw new Error(`nsupdate ended with ${code}: ${output()}`)
    },
    async breakZone(origin) {
      broken.add(origin)
      await reload()
    },
    async mendZone(origin) {
      broken.delete(origin)
      await reload()
    },
    async pause() {
      child.kill('SIGSTOP')
      // The signal is only posted by then; a thread on another processor may still answer.
      while (!(await isStopped(child.pid))) await setImmediate()
    },
    resume() {
      child.kill('SIGCONT')
    },
    async stop() {
      child.kill('SIGCONT')
      await end(child)
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** dnsdist as a DNS over HTTPS server (plain HTTP/1.1 on loopback) before a DNS server. */
export interface Dnsdist {
  /** As the `server` option takes it. */
  readonly url: string
  stop(): Promise<void>
}

export async function startDnsdist({ backend }: { backend: { address: string; port: number } }): Promise<Dnsdist> {
  const folder = await mkdtemp(join(tmpdir(), 'rollcall-dnsdist-'))
  const [port, httpPort] = [await freePort(), await freePort()]
  const file = join(folder, 'dnsdist.conf')
  await writeFile(
    file,
    // Without the empty suffix dnsdist asks its maker's servers about its own version.
    `setSecurityPollSuffix("")
setLocal("127.0.0.1:${port}")
addDOHLocal("127.0.0.1:${httpPort}", nil, nil, "/dns-query")
newServer({address="${backend.address}:${backend.port}", healthCheckMode="up"})
setACL({"127.0.0.0/8"})
`,
  )
  const child = start('dnsdist', ['--supervised', '--disable-syslog', '-C', file])
  const stop = async () => {
    await end(child)
    await rm(folder, { recursive: true, force: true })
  }
  try {
    await logged(child, /Marking downstream|dnsdist .* comes with/)
  } catch (error) {
    await stop()
    throw error
  }
  return { url: `http://127.0.0.1:${httpPort}/dns-query`, stop }
}

/** A port that is free for UDP and TCP on 127.0.0.1 at this moment. */
export async function freePort(): Promise<number> {
  const tcp = createServer().listen(0, '127.0.0.1')
  await once(tcp, 'listening')
  const bound = tcp.address()
  if (bound === null || typeof bound === 'string') throw new Error('expected a bound port')
  const udp = createSocket('udp4')
  const free = await new Promise<boolean>((resolve) => {
    udp.once('error', () => resolve(false))
    udp.bind(bound.port, '127.0.0.1', () => resolve(true))
  })
  udp.close()
  tcp.close()
  await once(tcp, 'close')
  return free ? bound.port : freePort()
}

function zoneText(origin: string, records: readonly string[]): string {
  return [
    `$ORIGIN ${origin}.`,
    '$TTL 0',
    '@ SOA ns admin 1 3600 600 86400 0',
    '@ NS ns',
    'ns A 127.0.0.1',
    ...records,
    '',
  ].join('\n')
}

interface ConfigText {
  folder: string
  address: string
  port: number
  origins: readonly string[]
  broken: ReadonlySet<string>
  config: string
}

function configText({ folder, address, port, origins, broken, config }: ConfigText): string {
  const zone = (origin: string) =>
    broken.has(origin)
      ? `zone "${origin}" { type secondary; primaries port 1 { 127.0.0.1; }; };`
      : `zone "${origin}" { type primary; file "${join(folder, origin)}"; allow-update { 127.0.0.0/8; ${address}; }; };`
  return `options {
  directory "${folder}"; pid-file "${folder}/named.pid"; session-keyfile "${folder}/session.key";
  managed-keys-directory "${folder}"; listen-on port ${port} { ${address}; }; listen-on-v6 { none; };
  recursion no; dnssec-validation no; notify no; empty-zones-enable no; max-udp-size 1232;
  max-records-per-type 0;
};
controls { };
${origins.map(zone).join('\n')}
${config}
`
}

function start(program: string, options: readonly string[], enter: readonly string[] = []): ChildProcess {
  const [entered = '', ...args] = [...enter, program, ...options]
  const child = spawn(entered, args, { env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` } })
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  child.once('exit', () => process.off('exit', kill))
  return child
}

/** Gathers what a process writes from now on, until `signal`. */
function collect(child: ChildProcess, heard: (text: string) => void = () => {}, signal?: AbortSignal): () => string {
  let text = ''
  function onData(chunk: Buffer): void {
    text += chunk
    heard(text)
  }
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', onData)
    signal?.addEventListener('abort', () => stream?.off('data', onData))
  }
  return () => text
}

/** Waits for a line of the log; a process that ends before it is an error that shows what it wrote. */
async function logged(child: ChildProcess, pattern: RegExp): Promise<void> {
  const done = new AbortController()
  const { signal } = done
  const line = new Promise<void>((resolve) => {
    collect(child, (text) => pattern.test(text) && resolve(), signal)
  })
  const output = collect(child, undefined, signal)
  const ended = once(child, 'exit', { signal }).then(([code]) => {
    throw new Error(`${child.spawnfile} ended with ${code}: ${output()}`)
  })
  try {
    await Promise.race([line, ended])
  } finally {
    ended.catch(() => undefined)
    done.abort()
  }
}

/** Whether every thread of a process is stopped; Linux only. */
async function isStopped(pid: number | undefined): Promise<boolean> {
  const threads = await readdir(`/proc/${pid}/task`)
  const states = await Promise.all(threads.map((thread) => readFile(`/proc/${pid}/task/${thread}/stat`, 'utf8')))
  return states.every((stat) => /\) T /.test(stat))
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  await ended
}
