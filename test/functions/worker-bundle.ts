import { fileURLToPath } from 'node:url'
import type { BuildOptions, Metafile } from 'esbuild'

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
