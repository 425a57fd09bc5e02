import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { build } from 'esbuild'
import { WORKER_BUNDLE } from '../functions/worker-bundle.ts'
import { type Child, lineOf, startProgram } from './child.ts'

/** A Worker in a workerd. */
export interface Worker {
  readonly name: string
  /** Its file; rollcall's own by default. */
  readonly entry?: string
  /** As workerd's configuration has them. */
  readonly bindings?: readonly string[]
  /** Whether it has Durable Objects, of the class and in the binding of wrangler.toml, which keep what they keep on disk. */
  readonly hasObjects?: boolean
}

export interface Workerd extends Child {
  /** Where each of the Workers is, by its name. */
  readonly urls: ReadonlyMap<string, string>
}

// wrangler has a plugin for what CommonJS requires of Node.
const REQUIRE = "import { createRequire } from 'node:module'; const require = createRequire('file:///');"

/**
 * Starts a workerd with Workers that are bundled as wrangler bundles them, and with nothing in front of it. It reaches the loopback
 * alone. See https://github.com/cloudflare/workerd/blob/main/src/workerd/server/workerd.capnp.
 */
export async function startWorkerd(
  workers: readonly Worker[],
  { root, folder }: { root: string; folder: string },
): Promise<Workerd> {
  const kept = join(folder, 'kept')
  await mkdir(kept, { recursive: true })
  const bundled = { ...WORKER_BUNDLE, write: true, banner: { js: REQUIRE } }
  for (const { name, entry } of workers) {
    const entryPoints = entry === undefined ? WORKER_BUNDLE.entryPoints : [entry]
    await build({ ...bundled, entryPoints, outfile: join(folder, `${name}.mjs`) })
  }
  const deployed = await readFile(join(root, 'wrangler.toml'), 'utf8')
  const [, date = ''] = /^compatibility_date = "(.+)"$/m.exec(deployed) ?? []
  const services = [
    ...workers.map((worker) => serviceOf(worker, date)),
    `(name = "kept", disk = (path = ${JSON.stringify(kept)}, writable = true))`,
    '(name = "internet", network = (allow = ["local"]))',
  ]
  const sockets = workers.map(
    ({ name }) => `(name = "${name}", address = "127.0.0.1:0", http = (), service = "${name}")`,
  )
  const file = join(folder, `${workers.map(({ name }) => name).join('-')}.capnp`)
  await writeFile(
    file,
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (services = [${services.join(', ')}], sockets = [${sockets.join(', ')}]);
`,
  )
  const child = startProgram(join(root, 'node_modules/.bin/workerd'), ['serve', '--control-fd=1', file], { root })
  const urls = await Promise.all(
    workers.map(async ({ name }): Promise<[string, string]> => {
      const line = await lineOf(child, new RegExp(`^.*"socket":"${name}".*$`))
      return [name, `http://127.0.0.1:${/"port":(\d+)/.exec(line)?.[1]}`]
    }),
  )
  return { ...child, urls: new Map(urls) }
}

function serviceOf({ name, bindings = [], hasObjects = false }: Worker, date: string): string {
  const objects = '(name = "REGISTRY", durableObjectNamespace = "RegistryObject")'
  const classes = '(className = "RegistryObject", uniqueKey = "registry", enableSql = true)'
  return `(name = "${name}", worker = (
      modules = [(name = "${name}.mjs", esModule = embed "${name}.mjs")],
      compatibilityDate = "${date}", compatibilityFlags = ["nodejs_compat"],
      bindings = [${[...bindings, ...(hasObjects ? [objects] : [])].join(', ')}]${
        hasObjects ? `, durableObjectNamespaces = [${classes}], durableObjectStorage = (localDisk = "kept")` : ''
      }))`
}
