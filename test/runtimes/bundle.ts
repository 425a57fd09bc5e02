import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { build } from 'esbuild'

const { dirname: here } = import.meta
const PEERS = join(here, '../peers/node_modules')
/** What stands before the outcomes in the output of a runtime; encoded like a part of a URL, they survive a console and a page alike. */
export const MARK = 'rollcall-outcomes:'

/** How a runtime takes the tests: as a script, as a worker, or as a page. */
export type Form = 'script' | 'worker' | 'page'

/** The form as a file that is run, beside what it shows when its tests have ended. */
const FORMS: Record<Form, { readonly file: string; readonly main: string }> = {
  script: { file: 'script.mjs', main: 'console.log(await outcomes())' },
  worker: { file: 'worker.mjs', main: 'export default { async test() { console.log(await outcomes()) } }' },
  page: { file: 'page.mjs', main: 'document.body.textContent = await outcomes()' },
}

/** Bundles the test files into `folder`, and gives the file to run. What imports a module of Node other than the two stood in for fails here. */
export async function bundle(form: Form, files: readonly string[], folder: string): Promise<string> {
  const { file, main } = FORMS[form]
  const outfile = join(folder, file)
  await build({
    stdin: {
      contents: [
        ...files.map((path) => `import ${JSON.stringify(path)}`),
        `import { runTests } from ${JSON.stringify(join(here, 'node-test.ts'))}`,
        `const outcomes = async () => ${JSON.stringify(MARK)} + encodeURIComponent(JSON.stringify(await runTests()))`,
        main,
      ].join('\n'),
      resolveDir: here,
    },
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2024',
    alias: { 'node:test': join(here, 'node-test.ts'), 'node:assert/strict': join(here, 'strict-assert.ts') },
    // The ports of assert and of buffer (dns-packet has it) for where there is no Node.
    nodePaths: [PEERS],
    // They ask its `process` whether there is a terminal: nowhere, so that all runtimes run the same.
    define: { process: '{"env":{}}' },
    logLevel: 'warning',
  })
  if (form === 'script') return outfile
  return form === 'worker' ? workerConfig(folder, file) : page(folder, outfile)
}

/** See https://github.com/cloudflare/workerd/blob/main/src/workerd/server/workerd.capnp. */
async function workerConfig(folder: string, file: string): Promise<string> {
  const deployed = await readFile(join(here, '../../wrangler.toml'), 'utf8')
  const [, date] = /^compatibility_date = "(.+)"$/m.exec(deployed) ?? []
  const config = join(folder, 'worker.capnp')
  const worker = `modules = [(name = "${file}", esModule = embed "${file}")], compatibilityDate = "${date}", compatibilityFlags = ["no_nodejs_compat"]`
  await writeFile(
    config,
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (services = [(name = "tests", worker = (${worker}))]);
`,
  )
  return config
}

/**
 * The script is inside the page: one that came from a file may load no module from another. At the end only the outcomes are left in it,
 * or the error with which the script did not load.
 */
async function page(folder: string, script: string): Promise<string> {
  const file = join(folder, 'page.html')
  const code = await readFile(script, 'utf8')
  const told = "addEventListener('error', ({ message }) => { document.documentElement.textContent = message })"
  await writeFile(
    file,
    `<!doctype html><meta charset="utf-8"><body><script>${told}</script><script type="module">${code}</script>`,
  )
  return file
}
