import { readdir, readFile, readlink } from 'node:fs/promises'

/** What a process has of the machine, by proc(5). */
export interface Resources {
  readonly memoryBytes: number
  /** The most that it ever had. */
  readonly peakBytes: number
  /** Open file descriptors, and how many of them are sockets of TCP and UDP: a BEAM opens others when it first needs them. */
  readonly handles: number
  readonly sockets: number
}

const INODE_COLUMN = 9

/** Undefined when the process has ended, also where nobody has taken its exit code yet. */
export async function readResources(pid: number): Promise<Resources | undefined> {
  try {
    const status = await readFile(`/proc/${pid}/status`, 'utf8')
    const folder = `/proc/${pid}/fd`
    const names = await readdir(folder)
    // One that was closed meanwhile is none.
    const targets = await Promise.all(names.map((name) => readlink(`${folder}/${name}`).catch(() => undefined)))
    const network = await networkSockets(pid)
    const open = targets.filter((target) => target !== undefined)
    const memoryBytes = kilobytes(status, 'VmRSS')
    if (memoryBytes === undefined) return undefined
    return {
      memoryBytes,
      peakBytes: kilobytes(status, 'VmHWM') ?? memoryBytes,
      handles: open.length,
      sockets: open.filter((target) => network.has(target)).length,
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ESRCH') return undefined
    throw error
  }
}

/** Those of the whole host that the process runs on, as the links of proc(5) name them. */
async function networkSockets(pid: number): Promise<Set<string>> {
  const tables = ['tcp', 'tcp6', 'udp', 'udp6'].map((table) => readFile(`/proc/${pid}/net/${table}`, 'utf8'))
  const lines = (await Promise.all(tables)).flatMap((text) => text.trim().split('\n').slice(1))
  return new Set(lines.map((line) => `socket:[${line.trim().split(/\s+/)[INODE_COLUMN]}]`))
}

/** A zombie has none of these lines. */
function kilobytes(status: string, key: string): number | undefined {
  const [, count] = new RegExp(`^${key}:\\s*(\\d+) kB$`, 'm').exec(status) ?? []
  return count === undefined ? undefined : Number(count) * 1_024
}
