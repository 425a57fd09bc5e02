import { execFileSync } from 'node:child_process'
import { missingPrograms } from './programs.ts'

/** A host of its own on a network of its own: a network namespace. */
export interface Host {
  readonly address: string
  /** Put before a program and its arguments, it runs them there. */
  readonly enter: readonly string[]
  /** Takes its cable out, or puts it in again. */
  plug(isIn: boolean): void
}

export interface Network {
  readonly hosts: readonly Host[]
  /** Loses what goes from one host (or any) to another (or any): all of it, or that share of the packets. Gives the undo, which says how many were lost; needs nft. */
  lose(way: { from?: Host; to?: Host; percent?: number }): () => number
  /** Takes everything away that was made, as far as it was. */
  remove(): void
}

const PATH = `${process.env.PATH}:/usr/sbin:/sbin`
let made = 0

/** As {@link missingPrograms}, for tests that need network namespaces: those only root may make. */
export function missingNamespaces(): string | false {
  const missing = missingPrograms('ip')
  if (missing !== false) return missing
  if (mayMakeThem()) return false
  const line = 'needs network namespaces: run it as root, with CAP_NET_ADMIN and CAP_SYS_ADMIN'
  if (process.env.PEERS === 'required') throw new Error(`PEERS=required, and this test ${line}`)
  return line
}

function mayMakeThem(): boolean {
  const { name, remove } = claim()
  try {
    ip('netns', 'add', `${name}n1`)
    ip('link', 'add', `${name}b`, 'type', 'bridge')
    return true
  } catch {
    return false
  } finally {
    remove()
  }
}

/** Makes hosts 10.77.0.1, 10.77.0.2 … on one bridge. Names are this process's own, so that two runs do not meet. */
export function createNetwork(count: number): Network {
  const { name, remove } = claim(count)
  try {
    ip('link', 'add', `${name}b`, 'type', 'bridge')
    ip('link', 'set', `${name}b`, 'up')
    const hosts = Array.from({ length: count }, (_, index) => createHost(name, index + 1))
    return { hosts, lose: createLosses(name, hosts), remove }
  } catch (error) {
    remove()
    throw error
  }
}

function createHost(name: string, number: number): Host {
  const [namespace, cable, address] = [`${name}n${number}`, `${name}v${number}`, `10.77.0.${number}`]
  ip('netns', 'add', namespace)
  ip('link', 'add', cable, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace)
  ip('link', 'set', cable, 'master', `${name}b`, 'up')
  ip('-n', namespace, 'addr', 'add', `${address}/24`, 'dev', 'eth0')
  for (const device of ['lo', 'eth0']) ip('-n', namespace, 'link', 'set', device, 'up')
  return {
    address,
    enter: ['ip', 'netns', 'exec', namespace],
    plug: (isIn) => ip('link', 'set', cable, isIn ? 'up' : 'down'),
  }
}

/** The bridge forgets packets: `tc netem` is missing in many kernels, and nft can draw lots as well. */
function createLosses(name: string, hosts: readonly Host[]): Network['lose'] {
  const cableOf = (host: Host) => `"${name}v${hosts.indexOf(host) + 1}"`
  const chain = ['bridge', name, 'forward']
  let isMade = false

  return ({ from, to, percent = 100 }) => {
    if (!isMade) {
      nft('add', 'table', 'bridge', name)
      nft('add', 'chain', ...chain, '{ type filter hook forward priority 0; }')
      isMade = true
    }
    const source = from === undefined ? [] : ['iifname', cableOf(from)]
    const target = to === undefined ? [] : ['oifname', cableOf(to)]
    const lot = percent === 100 ? [] : ['numgen', 'random', 'mod', '100', '<', String(percent)]
    const added = nft('--echo', '--handle', 'add', 'rule', ...chain, ...source, ...target, ...lot, 'counter', 'drop')
    const [, handle = ''] = /# handle (\d+)/.exec(added) ?? []
    return () => {
      const rule = nft('--handle', 'list', 'chain', ...chain)
        .split('\n')
        .find((line) => line.endsWith(` # handle ${handle}`))
      nft('delete', 'rule', ...chain, 'handle', handle)
      return Number(/counter packets (\d+)/.exec(rule ?? '')?.[1])
    }
  }
}

/** A name of its own, at most 15 characters with what is added, and how to remove what bears it, at the end of the process too. */
function claim(count = 1): { name: string; remove: () => void } {
  const name = `rc${process.pid.toString(36)}${(made++).toString(36)}`
  function remove(): void {
    process.off('exit', remove)
    // The cables first: those of a namespace that is gone go late, and their names would be taken.
    for (let number = 1; number <= count; number++) drop('link', 'del', `${name}v${number}`)
    for (let number = 1; number <= count; number++) drop('netns', 'del', `${name}n${number}`)
    drop('link', 'del', `${name}b`)
    try {
      nft('delete', 'table', 'bridge', name)
    } catch {
      // Nothing was ever lost, or nft is not here.
    }
  }
  process.on('exit', remove)
  // A run that is ended from outside ends like any other, where it does not see to that itself.
  if (made === 1) {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      if (process.listenerCount(signal) === 0) process.once(signal, () => process.exit(1))
    }
  }
  return { name, remove }
}

function drop(...args: string[]): void {
  try {
    ip(...args)
  } catch {
    // It was never made.
  }
}

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, PATH } })
}

function nft(...args: string[]): string {
  return execFileSync('nft', args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, PATH },
  })
}
