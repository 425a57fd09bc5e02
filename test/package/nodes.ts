import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import root from '../../package.json' with { type: 'json' }
import peers from '../peers/package.json' with { type: 'json' }

/** A version of Node that the package promises to run on. */
export interface PromisedNode {
  /** In full: 24.21.0. */
  readonly version: string
  /** The folder of its `node`. */
  readonly bin: string
  /** Whether its tests must be skipped: `false`, or one line that says what to run. */
  readonly missing: string | false
}

/** The oldest that `engines` allows, the one of development, and the newest. Under `PEERS=required` a missing one is an error. */
export function promisedNodes(): readonly [PromisedNode, PromisedNode, PromisedNode] {
  const { 'node-22': oldest, 'node-26': newest } = peers.dependencies
  return [
    promised(oldest, '../peers/node_modules/node-22/bin', '(cd test/peers && npm ci)'),
    promised(root.devDependencies.node, '../../node_modules/node/bin', 'npm ci'),
    promised(newest, '../peers/node_modules/node-26/bin', '(cd test/peers && npm ci)'),
  ]
}

function promised(dependency: string, folder: string, command: string): PromisedNode {
  const version = dependency.replace('npm:node@', '')
  const bin = fileURLToPath(new URL(folder, import.meta.url))
  if (existsSync(`${bin}/node`)) return { version, bin, missing: false }
  const line = `needs Node ${version}: run ${command}`
  if (process.env.PEERS === 'required') throw new Error(`PEERS=required, and this test ${line}`)
  return { version, bin, missing: line }
}
