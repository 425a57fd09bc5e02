import type { Config, TopologyConfig } from '../../core/config.ts'
import { configError } from '../../core/config-error.ts'
import { RollcallError } from '../../core/error.ts'
import type { NodeName } from '../../core/node.ts'
import type { Log } from '../../functions/resolvers/source.ts'
import { readConfig, requireSelf } from '../config.ts'
import { createLog } from '../log.ts'

/** What every command that reads the config is given. */
export interface CommonOptions {
  config: string
  debug?: boolean
  json?: boolean
}

/** The config that the command line names, and a log on stderr at its level. */
export async function open({ config: file, debug = false }: CommonOptions): Promise<{ config: Config; log: Log }> {
  const config = await readConfig(file, process.env)
  return { config, log: createLog(debug ? 'debug' : config.log.level) }
}

/** As {@link open}, for a command that acts as this node: its `config.node` is set. */
export async function openAsNode(given: CommonOptions): Promise<{ config: Config & { node: NodeName }; log: Log }> {
  const { config, log } = await open(given)
  return { config: { ...config, node: requireSelf(config, { file: given.config, env: process.env }) }, log }
}

/** As {@link openAsNode}, for a command that dials: its config has a distribution. */
export async function openToDial(given: CommonOptions): ReturnType<typeof openAsNode> {
  const opened = await openAsNode(given)
  if (opened.config.distribution !== undefined) return opened
  throw configError(given.config, ['distribution'], 'expected beam or exec, got none: an agent needs a mesh to dial in')
}

/** Refuses what a short-lived process cannot do for a `member`: its links end with the process. Throws `config`. */
export function refuseMember({ distribution }: Config, { file, command }: { file: string; command: string }): void {
  if (distribution === undefined || !('beam' in distribution) || distribution.beam.mode !== 'member') return
  const sentence = `expected sidecar for rollcall ${command}, got member: that process is the node, and its links end with it; run rollcall agent`
  throw configError(file, ['distribution', 'beam', 'mode'], sentence)
}

/** The topology that is meant, with its name: the one given, else the only one. */
export function chooseTopology({ topologies }: Config, given: string | undefined): [string, TopologyConfig] {
  const entries = Object.entries(topologies)
  const chosen = given === undefined ? entries : entries.filter(([name]) => name === given)
  const [first, ...others] = chosen
  if (first !== undefined && others.length === 0) return first
  const names = entries.map(([name]) => name).join(', ')
  const got = given === undefined ? 'none' : JSON.stringify(given)
  throw new RollcallError('usage', `[rollcall] expected the name of a topology (${names}), got ${got}`)
}
