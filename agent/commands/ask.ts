import type { TopologyConfig } from '../../core/config.ts'
import type { Observation } from '../../core/member.ts'
import type { NodeName } from '../../core/node.ts'
import type { Log } from '../../functions/resolvers/source.ts'
import { openSource } from '../strategies/index.ts'

interface AskOptions {
  topology: string
  self?: NodeName | undefined
  log: Log
  /** How long to listen to a source that cannot be asked. */
  listenMs: number
}

/** Asks each source of a topology once, all at a time; one observation each, in their order. */
export async function ask({ sources, intervalMs }: TopologyConfig, options: AskOptions): Promise<Observation[]> {
  const opened = await Promise.all(sources.map((source) => openSource(source, { ...options, intervalMs })))
  const { signal } = new AbortController()
  return await Promise.all(opened.map((source) => source.look(signal)))
}
