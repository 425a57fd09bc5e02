import type { ExecDistributionConfig } from '../../core/config.ts'
import { RollcallError } from '../../core/error.ts'
import { hostOf, isNodeName, type NodeName } from '../../core/node.ts'
import { runProgram } from '../program.ts'
import type { Distribution } from './distribution.ts'

// A list is asked for at every plan, so it must not take longer than one may wait; the other calls have the caller's signal.
const LIST_TIMEOUT_MS = 8_000
const CALL_TIMEOUT_MS = 60_000

/**
 * A mesh that is steered by programs. In the arguments `{node}`, `{host}` and `{port}` are replaced; the host is that of the
 * peer's address, else the one in its name. `list` prints a node name a line. To leave, each link is cut.
 */
export function createExecDistribution(config: ExecDistributionConfig, { self }: { self: NodeName }): Distribution {
  const closing = new AbortController()

  async function list(): Promise<NodeName[]> {
    const text = await runProgram(config.list, { part: 'exec', signal: closing.signal, timeoutMs: LIST_TIMEOUT_MS })
    const lines = text.split('\n').flatMap((line) => line.trim() || [])
    const bad = lines.find((line): boolean => !isNodeName(line))
    // A link that is misread would look lost.
    if (bad !== undefined)
      throw new RollcallError(
        'bad_output',
        `[exec] expected node names of list, got ${JSON.stringify(bad.slice(0, 80))}`,
      )
    return lines.filter((node) => node !== self)
  }

  async function call(template: readonly string[], { node, address, signal }: Call): Promise<void> {
    await runProgram(fillIn(template, { node, address }), { part: 'exec', signal, timeoutMs: CALL_TIMEOUT_MS })
  }

  return {
    self,
    list,
    connect: (node, { address, signal }) => call(config.connect, { node, address, signal }),
    disconnect: (node, { signal }) => call(config.disconnect, { node, signal }),
    async leave() {
      const links = await list()
      await Promise.all(links.map((node) => call(config.disconnect, { node, signal: closing.signal })))
    },
    async close() {
      closing.abort()
    },
  }
}

interface Peer {
  readonly node: NodeName
  readonly address?: { host: string; port: number } | undefined
}

type Call = Peer & { readonly signal: AbortSignal }

function fillIn(template: readonly string[], { node, address }: Peer): string[] {
  const values: Record<string, string | undefined> = {
    node,
    host: address?.host ?? hostOf(node),
    port: address?.port.toString(),
  }
  return template.map((part) => {
    const filled = part.replace(/\{(node|host|port)\}/g, (_, key: string) => {
      const value = values[key]
      if (value !== undefined) return value
      throw new RollcallError(
        'no_address',
        `[exec] expected an address for {port} of ${node}, got none: its source tells no ports`,
      )
    })
    // A source decides what a node is called; it must not decide which options a program gets.
    if (!filled.startsWith('-') || part.startsWith('-')) return filled
    throw new RollcallError('bad_node_name', `[exec] expected a node name, got what would be an option: ${node}`)
  })
}
