import { createHash, randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Named, startNamed } from '../named.ts'
import { createNetwork, type Host, type Network } from '../namespaces.ts'
import { type Disk, mountDisk } from './disk.ts'
import { startErlang } from './erlang-node.ts'
import { startMember } from './member-node.ts'
import type { ChaosNode } from './node.ts'
import { type Rollcall, startRollcall } from './rollcall.ts'
import { BASENAME, FUNCTION_PORT, INTERVAL_MS, TOPOLOGY, ZONE } from './settings.ts'

/** A network of hosts with a mesh on it, and what tells its agents of each other. */
export interface World {
  readonly network: Network
  readonly nodes: readonly ChaosNode[]
  readonly named: Named
  /** `pid`: undefined while it is down. */
  readonly function: { readonly pid: number | undefined; log(): string; kill(): Promise<void>; start(): Promise<void> }
  /** Where the states of all agents are. */
  readonly disk: Disk
  /** The records that list all nodes. */
  readonly records: readonly string[]
  end(): Promise<void>
}

/** The source of each third node is DNS, the function, or DNS beside gossip, and so on: all ways lead to one mesh. */
function sourcesOf(index: number, { dns, viaFunction }: { dns: object; viaFunction: object }): object[] {
  const gossip = { gossip: { heartbeat: INTERVAL_MS, interface: 'eth0', secret: 'chaos is no secret' } }
  return [[dns], [viaFunction], [dns, gossip], [viaFunction, gossip]][index % 4] ?? []
}

/** Makes the network, and starts named, the function and all nodes on it, each on a host of its own. */
export async function createWorld(counts: { erlang: number; members: number }): Promise<World> {
  const count = counts.erlang + counts.members
  // Each process that is started ends with this one, by a listener of its own.
  process.setMaxListeners(0)
  const network = createNetwork(count + 2)
  const folder = await mkdtemp(join(tmpdir(), 'rollcall-chaos-'))
  const ends: (() => Promise<unknown>)[] = []
  const removeFolder = () => rmSync(folder, { recursive: true, force: true })
  let disk: Disk | undefined
  async function end(): Promise<void> {
    await Promise.all(ends.map((stop) => stop()))
    disk?.remove()
    network.remove()
    process.off('exit', removeFolder)
    removeFolder()
  }

  try {
    disk = await mountDisk(join(folder, 'disk'))
    // After the disk in it, which goes in the same way.
    process.once('exit', removeFolder)
    const states = disk.folder
    const hosts = network.hosts.slice(0, count)
    const [dnsHost, functionHost] = network.hosts.slice(count)
    if (dnsHost === undefined || functionHost === undefined) throw new Error('expected two more hosts')
    const records = hosts.map(({ address }) => `${BASENAME} 0 A ${address}`)
    const named = await startNamed({ zones: { [ZONE]: records }, host: dnsHost })
    ends.push(() => named.stop())
    const dns = { dns: { query: `${BASENAME}.${ZONE}.`, types: ['A'], server: named.server, timeout: '2s' } }
    const token = randomBytes(32).toString('base64url')
    const served = await serve({ host: functionHost, folder, dns, token })
    ends.push(() => served.kill())
    const url = `http://${functionHost.address}:${FUNCTION_PORT}`
    const viaFunction = { function: { url, token, timeout: '2s' } }
    const nodes = await Promise.all(
      hosts.map(async (host, index) => {
        const sources = sourcesOf(index, { dns, viaFunction })
        const state = join(states, host.address)
        const start = index < counts.erlang ? startErlang : startMember
        const node = await start({ host, folder, sources, state })
        ends.push(() => node.end())
        return node
      }),
    )
    return { network, nodes, named, function: served, disk, records, end }
  } catch (error) {
    await end()
    throw error
  }
}

interface ServeOptions {
  readonly host: Host
  readonly folder: string
  readonly dns: { readonly dns: object }
  readonly token: string
}

async function serve({ host, folder, dns, token }: ServeOptions): Promise<World['function']> {
  const file = join(folder, 'function.json')
  const sha256 = createHash('sha256').update(token).digest('hex')
  const config = {
    topologies: { [TOPOLOGY]: { interval: INTERVAL_MS, sources: [{ dns: { ...dns.dns, basename: BASENAME } }] } },
    auth: [{ name: 'mesh', sha256, topologies: '*', verbs: ['read'] }],
  }
  await writeFile(file, JSON.stringify(config))
  const args = ['--config', file, 'serve', '--host', host.address, '--port', String(FUNCTION_PORT)]
  let program: Rollcall | undefined
  async function start(): Promise<void> {
    program = await startRollcall(args, { host, upAt: 'serving' })
  }
  await start()
  return {
    get pid() {
      return program?.pid
    },
    log: () => program?.log() ?? '',
    async kill() {
      const killed = program
      program = undefined
      await killed?.kill()
    },
    start,
  }
}
