import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/**
 * Bundles the function into `folder`, for the handler `index.handler`; the bench gives an `entry` of its own. The clients of AWS are chunks
 * of their own, loaded on first use; those that Lambda brings would change under a deployed function, and have the whole of EC2 in memory
 * for one call of it.
 */
export async function bundle(folder: string, entry = 'infra/aws/handler.ts'): Promise<void> {
  await build({
    absWorkingDir: ROOT,
    entryPoints: { index: entry },
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    chunkNames: 'chunks/[name]-[hash]',
    bundle: true,
    splitting: true,
    minify: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    // What can be shaken, where a package has it: half the bytes.
    mainFields: ['module', 'main'],
    // What CommonJS requires has to come from somewhere in an ES module.
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
    logLevel: 'warning',
  })
}
