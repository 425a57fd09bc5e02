import type { Config, SourceConfig } from '../../core/config.ts'
import { RollcallError } from '../../core/error.ts'
import { type Observation, up } from '../../core/member.ts'
import type { NodeName } from '../../core/node.ts'
import { defaultPolicy, type Policy } from '../../core/policy.ts'
import type { Distribution } from '../../agent/distributions/distribution.ts'
import type { Log, Source } from '../../functions/resolvers/source.ts'
import * as z from 'zod/mini'

/** A mesh in memory: what was asked of it, and links that a test may make and cut. */
export interface FakeMesh extends Distribution {
  readonly links: Set<NodeName>
  readonly calls: string[]
}

/** Dials succeed at once unless a behaviour is handed in. */
export function createFakeMesh(self: NodeName, behaviour: Partial<Distribution> = {}): FakeMesh {
  const links = new Set<NodeName>()
  const calls: string[] = []
  const mesh: FakeMesh = {
    self,
    isNode: behaviour.isNode ?? false,
    links,
    calls,
    async list() {
      calls.push('list')
      return behaviour.list === undefined ? [...links] : await behaviour.list()
    },
    async connect(node, options) {
      calls.push(`connect ${node}`)
      await behaviour.connect?.(node, options)
      links.add(node)
    },
    async disconnect(node, options) {
      calls.push(`disconnect ${node} ${options.reason}`)
      await behaviour.disconnect?.(node, options)
      links.delete(node)
    },
    async leave() {
      calls.push('leave')
      await behaviour.leave?.()
      links.clear()
    },
    async close() {
      calls.push('close')
      await behaviour.close?.()
    },
  }
  return behaviour.changes === undefined ? mesh : { ...mesh, changes: behaviour.changes }
}

/** A log that keeps its lines. */
export function createFakeLog(): Log & { lines: string[] } {
  const lines: string[] = []
  const note = (level: string) => (fields: object, message: string) => {
    lines.push(`${level} ${(fields as { type?: string }).type ?? ''} ${message}`)
  }
  return { lines, debug: note('debug'), info: note('info'), warn: note('warn'), error: note('error') }
}

/** A source that looks by the given function. */
export function looking(look: NonNullable<Source<unknown>['look']>): Source<unknown> {
  return { options: z.unknown(), look }
}

/** A source that always lists these nodes. */
export function listing(nodes: () => readonly NodeName[]): Source<unknown> {
  return looking(async (_options, { source, now }) => complete(source, now(), nodes()))
}

export function complete(source: string, at: number, nodes: readonly NodeName[]): Observation {
  return { source, at, outcome: 'complete', members: nodes.map(up) }
}

export function failing(code: string): Source<unknown> {
  return looking(async () => {
    throw new RollcallError(code, `[test] expected an answer, got ${code}`)
  })
}

/** A config with one topology, `web`, of sources by id; `loadSource` finds them. */
export function configOf(
  sources: Record<string, Source<unknown>>,
  {
    intervalMs = 5_000,
    policy = {},
    agent = {},
  }: { intervalMs?: number; policy?: Partial<Policy>; agent?: Partial<Config['agent']> } = {},
): { config: Config; loadSource: (source: SourceConfig) => Promise<Source<unknown>> } {
  const config: Config = {
    node: 'a@10.0.0.1',
    topologies: {
      web: {
        intervalMs,
        sources: Object.keys(sources).map((id) => ({ id, kind: 'static', options: {} })),
        policy: { ...defaultPolicy, ...policy },
      },
    },
    agent: { leaveOnExit: false, ...agent },
    log: { level: 'silent' },
  }
  return {
    config,
    async loadSource({ id }) {
      const source = sources[id]
      if (source === undefined) throw new TypeError(`no source ${id}`)
      return source
    },
  }
}
