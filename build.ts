import { existsSync } from 'node:fs'
import { appendFile, readFile, rm } from 'node:fs/promises'
import { isBuiltin } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, type Plugin } from 'esbuild'

// Bundles the command line over the plain output of tsc: some 240 module files, loaded one by one, cost each agent 15 MB.
// What a command imports lazily stays a chunk of its own.
const { dirname: root } = import.meta
const [dist = join(root, 'dist')] = process.argv.slice(2)

// An import of a module of Node reads all its exports, and some load much when read. It also serves the `require` of CommonJS.
const nodeModules: Plugin = {
  name: 'node-modules',
  setup(bundler) {
    bundler.onResolve({ filter: /^(node:)?[a-z_/]+$/ }, ({ path }) =>
      isBuiltin(path) ? { path, namespace: 'node-modules', sideEffects: false } : undefined,
    )
    bundler.onLoad({ filter: /./, namespace: 'node-modules' }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(path)})`,
    }))
  },
}

// The command line says its version; all else that the manifest has would be in the memory of every agent.
const manifest: Plugin = {
  name: 'manifest',
  setup(bundler) {
    bundler.onLoad({ filter: /[/\\]package\.json$/ }, async ({ path }) =>
      path === join(root, 'package.json')
        ? { contents: JSON.stringify({ version: JSON.parse(await readFile(path, 'utf8')).version }), loader: 'json' }
        : undefined,
    )
  },
}

// Their names change with their content: old ones would stay, and be published.
await rm(join(dist, 'agent/chunks'), { recursive: true, force: true })
await build({
  absWorkingDir: root,
  entryPoints: ['agent/cli.ts'],
  outdir: join(dist, 'agent'),
  chunkNames: 'chunks/[name]-[hash]',
  bundle: true,
  splitting: true,
  minify: true,
  format: 'esm',
  platform: 'node',
  target: 'node22.18',
  // Of ES modules what nobody uses is left out: half of the client of EC2, which is a chunk of its own.
  mainFields: ['module', 'main'],
  // A chunk that nothing imports: the clients of AWS name it for browsers.
  external: ['bowser'],
  // Of yaml for Node there is only CommonJS, of which nothing can be left out.
  alias: { yaml: fileURLToPath(new URL('browser/index.js', import.meta.resolve('yaml/package.json'))) },
  plugins: [nodeModules, manifest],
  logLevel: 'warning',
})

// The types of zod name URL, and the core is for programs that may have none: this merges with theirs where they have.
// A test bundles without what tsc makes.
const coreTypes = join(dist, 'core/index.d.ts')
if (existsSync(coreTypes)) await appendFile(coreTypes, 'declare global {\n    interface URL {}\n}\n')
