import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { RollcallError } from '../../core/error.ts'
import { canonicalHost, hostOf } from '../../core/node.ts'
import { type EpmdOptions, epmdOptionsSchema, nodesAt, readHosts } from '../../core/sources/epmd.ts'
import { type Finding, outcomeOf, together } from '../../core/sources/outcome.ts'
import type { Source, SourceContext } from '../../functions/resolvers/source.ts'
import { EPMD_PORT, registeredNames } from '../beam/epmd.ts'

export interface EpmdSeams {
  /** ERL_EPMD_PORT, HOME, ROOTDIR and ERL_ROOTDIR count as they do for `erl`. */
  env?: Readonly<Record<string, string | undefined>>
  /** Where a relative hosts file is looked for first. */
  directory?: string
}

/**
 * The nodes that are registered in the epmd of each host; those without an epmd, as the connection of an agent, are in none. A host
 * that does not answer makes the rest `partial`. Throws `epmd_unreachable` and the like when none answers, `hosts_file_missing` and
 * `hosts_file_malformed`.
 */
export function createEpmdSource({
  env = process.env,
  directory = process.cwd(),
}: EpmdSeams = {}): Source<EpmdOptions> {
  return {
    options: epmdOptionsSchema,
    async look(options, context) {
      const at = context.now()
      const hosts = await hostsOf(options, { env, directory })
      const port = options.port ?? (Number(env.ERL_EPMD_PORT) || EPMD_PORT)
      const parts = await Promise.all(hosts.map((host) => ask(host, { ...options, port }, context)))
      return { source: context.source, at, ...outcomeOf(together(parts)) }
    },
  }
}

async function ask(
  host: string,
  { port, match, timeout }: EpmdOptions & { port: number },
  { self, source, signal }: SourceContext,
): Promise<Finding | RollcallError> {
  // As OTP does: a node knows itself by the host that others know it by, and that is not localhost.
  const known = host === 'localhost' ? self && hostOf(self) : host
  if (known === undefined) {
    const message = `[epmd] expected hosts on source ${source} other than localhost, got none: no node asks here`
    throw new RollcallError('config', message)
  }
  try {
    const names = await registeredNames({ host, port, signal, timeoutMs: Math.ceil(timeout) })
    return nodesAt(
      known,
      names.map((registered) => registered.name),
      match,
    )
  } catch (error) {
    signal.throwIfAborted()
    if (error instanceof RollcallError) return error
    throw error
  }
}

/** Each host once, as it can be connected to. */
async function hostsOf({ hosts, hostsFile }: EpmdOptions, seams: Required<EpmdSeams>): Promise<string[]> {
  const given = hosts ?? (hostsFile === undefined ? ['localhost'] : [])
  const read = hostsFile === undefined ? [] : await readHostsFile(hostsFile, seams)
  const all = [...new Set([...[given].flat(), ...read].map(canonicalHost))]
  if (all.length > 0) return all
  throw new RollcallError(
    'hosts_file_empty',
    `[epmd] expected a host in ${hostsFile}, got none: add a line 'box.internal'.`,
  )
}

/** A relative path is looked for in OTP's own order; a file that is there but cannot be read is an error, and no reason to go on. */
async function readHostsFile(file: string, { env, directory }: Required<EpmdSeams>): Promise<string[]> {
  const folders = [directory, env.HOME, env.ROOTDIR ?? env.ERL_ROOTDIR].filter((folder) => folder !== undefined)
  const places = [...new Set(folders.map((folder) => resolve(folder, file)))]
  for (const place of places) {
    const content = await readIfThere(place)
    if (content !== undefined) return readHosts(content, place)
  }
  throw new RollcallError('hosts_file_missing', `[epmd] expected a file ${places.join(' or ')}, got none`)
}

async function readIfThere(place: string): Promise<string | undefined> {
  try {
    return await readFile(place, 'utf8')
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw new RollcallError('hosts_file_missing', `[epmd] expected to read ${place}, got ${code}`, { cause })
  }
}
