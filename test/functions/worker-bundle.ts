import { fileURLToPath } from 'node:url'
import type { BuildOptions, Metafile, Plugin } from 'esbuild'

/** As wrangler bundles the Worker, minified. */
export const WORKER_BUNDLE = {
  entryPoints: [fileURLToPath(new URL('../../functions/worker.ts', import.meta.url))],
  bundle: true,
  minify: true,
  write: false,
  metafile: true,
  format: 'esm',
  platform: 'neutral',
  mainFields: ['module', 'main'],
  conditions: ['workerd', 'worker', 'import'],
  external: ['node:*', 'buffer'],
} satisfies BuildOptions

const REGISTRY =
  /core\/(lease|sources\/registry)\.ts$|functions\/(registration|registry-(object|routes)|rate-limit|waiters|resolvers\/registry|stores\/durable-object)\.ts$/

/** Empties the modules that are there for nodes that register: leases, their store and owner, limits of calls, and callers that wait. */
export const WITHOUT_REGISTRY: Plugin = {
  name: 'without-registry',
  setup(bundler) {
    bundler.onLoad({ filter: REGISTRY }, () => ({ contents: '', loader: 'ts' }))
  },
}

/** The bytes of a bundle by the file that they come from. */
export function partsOf({ outputs }: Metafile): [file: string, bytes: number][] {
  return Object.values(outputs).flatMap(({ inputs }) =>
    Object.entries(inputs).map(([file, { bytesInOutput }]): [string, number] => [file, bytesInOutput]),
  )
}

/** Those of them that are no library's. */
export function ownParts(parts: readonly [file: string, bytes: number][]): [file: string, bytes: number][] {
  return parts.filter(([file]) => !file.includes('node_modules/'))
}
