import * as z from 'zod/mini'
import { durationSchema } from '../duration.ts'
import { RollcallError } from '../error.ts'
import { isNodeName, nodeName } from '../node.ts'
import { matches } from '../pattern.ts'
import { name, port, text } from '../setting.ts'
import { type Finding, findingOf, memberNamed } from './outcome.ts'

/** Options of the `epmd` source after parsing; `timeout` in ms. */
export type EpmdOptions = z.infer<typeof epmdOptionsSchema>

// All are asked at once, each on a socket of its own; a mesh of BEAM nodes ends far below.
const MAX_HOSTS = 512

const host = text.check(z.refine(isHost, { error: 'expected a host like box.internal, 10.0.0.5 or fd00::5' }))

export const epmdOptionsSchema = z.strictObject({
  name,
  /**
   * Whose epmd is asked, one or several. The nodes of `localhost` get the host of the agent's own node in their names, all others
   * the host as it is written here. Default: localhost, unless there is a `hostsFile`.
   */
  hosts: z.optional(z.union([host, z.array(host).check(z.minLength(1), z.maxLength(MAX_HOSTS))])),
  /** Further hosts, in Erlang's syntax: `.hosts.erlang` is looked for in the working directory, in $HOME and in $ROOTDIR, as OTP does. */
  hostsFile: z.optional(text),
  /** Which registered names are nodes of the mesh, `*` being any run of characters. Default: all of them. */
  match: z._default(z.union([text, z.array(text).check(z.minLength(1))]), '*'),
  /** ERL_EPMD_PORT by default, then 4369. */
  port: z.optional(port),
  /** How long each host may take, ms; as long as the usual interval. */
  timeout: z._default(durationSchema, 5_000),
})

// Each is tried where the one before ended. A quoted host needs no escapes, and unquoted an atom has no dots.
const BLANK = /(?:\s|%[^\n]*)*/y
const TERM = /'([^'\\\n]*)'|"([^"\\\n]*)"|([a-z]\w*)/y
const DOT = /\.(?=[\s%]|$)/y

/**
 * The hosts in a file in the syntax of `.hosts.erlang`: quoted atoms or strings, each ended by a dot, and comments.
 * Throws `hosts_file_malformed` naming the line, for OTP reads such a file whole or not at all.
 * https://www.erlang.org/doc/apps/kernel/net_adm.html#host_file/0
 */
export function readHosts(content: string, file: string): string[] {
  const hosts: string[] = []
  let at = 0
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at
    const found = pattern.exec(content)
    at += found?.[0].length ?? 0
    return found
  }
  const fail = (expected: string): never => {
    const line = content.slice(0, at).split('\n').length
    const got = at === content.length ? 'the end of the file' : JSON.stringify(content.slice(at, at + 20))
    throw new RollcallError('hosts_file_malformed', `[epmd] ${file}, line ${line}: expected ${expected}, got ${got}`)
  }
  for (take(BLANK); at < content.length; take(BLANK)) {
    const begin = at
    const [, atom, string, bare] = take(TERM) ?? fail("a host in quotes, like 'box.internal'.")
    const found = atom ?? string ?? bare ?? ''
    if (!isHost(found)) {
      at = begin
      fail("a host that can stand in a node name, like 'box.internal'.")
    }
    take(BLANK)
    if (take(DOT) === null) fail("a dot after the host (a host with dots of its own needs quotes, 'box.internal'.)")
    hosts.push(found)
  }
  if (hosts.length > MAX_HOSTS) {
    throw new RollcallError(
      'hosts_file_malformed',
      `[epmd] ${file}: expected at most ${MAX_HOSTS} hosts, got ${hosts.length}`,
    )
  }
  return hosts
}

/** The nodes that an epmd has registered, of those that match; what cannot be a node name is left out and is a flaw. */
export function nodesAt(host: string, names: readonly string[], match: EpmdOptions['match']): Finding {
  const patterns = [match].flat()
  const chosen = names.filter((registered) => patterns.some((pattern) => matches(pattern, registered)))
  return findingOf(chosen.map((registered) => memberNamed(nodeName(registered, host), 'epmd')))
}

function isHost(text: string): boolean {
  return isNodeName(nodeName('a', text))
}
