import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { promisedNodes } from '../package/nodes.ts'
import { missingPrograms } from '../peers/programs.ts'
import type { Form } from './bundle.ts'

const { dirname: here } = import.meta
const ROOT = join(here, '../../node_modules/.bin')
const PEERS = join(here, '../peers/node_modules')

// With nothing granted: the core needs no file, no network and no environment.
const DENO = ['run', '--no-prompt', '--no-config', '--no-lock']
const CHROMIUM = [
  '--headless',
  '--dump-dom',
  // Else it shows the page once it is loaded, whatever its script still waits for. Such time passes at once where nothing is to be done.
  '--virtual-time-budget=60000',
  '--disable-gpu',
  // Without it Chromium refuses to run as root; it runs nothing but these tests.
  '--no-sandbox',
  // Containers have a small one.
  '--disable-dev-shm-usage',
  // Else it tells at length that it finds no desktop.
  '--log-level=3',
  // It would call home.
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--host-resolver-rules=MAP * ~NOTFOUND',
]

/** A runtime that the core promises to run on. */
export interface Host {
  readonly name: string
  readonly program: string
  readonly form: Form
  /** The arguments that make it run `file`; `folder` is for what it writes. */
  readonly run: (file: string, folder: string) => readonly string[]
  /** Whether it must be skipped: `false`, or one line that says what to run. */
  readonly missing: string | false
}

/** All of them. Under `PEERS=required` a missing one is an error. */
export function hosts(): readonly Host[] {
  const all: Host[] = [
    ...promisedNodes().map(({ bin, missing }): Host => {
      return { name: 'Node', program: join(bin, 'node'), form: 'script', run: (file) => [file], missing }
    }),
    { ...installed('Deno', join(PEERS, '.bin/deno')), form: 'script', run: (file) => [...DENO, file] },
    { ...installed('Bun', join(PEERS, '.bin/bun')), form: 'script', run: (file) => ['run', file] },
    { ...installed('workerd', join(ROOT, 'workerd')), form: 'worker', run: (file) => ['test', file] },
    {
      name: 'Chromium',
      program: 'chromium',
      form: 'page',
      run: (file, folder) => [...CHROMIUM, `--user-data-dir=${folder}/chromium`, `file://${file}`],
      missing: missingPrograms('chromium'),
    },
  ]
  const { missing: unported } = installed('the ports of assert and buffer', join(PEERS, 'assert'))
  return all.map((host) => ({ ...host, missing: host.missing === false ? unported : host.missing }))
}

function installed(name: string, program: string): Pick<Host, 'name' | 'program' | 'missing'> {
  if (existsSync(program)) return { name, program, missing: false }
  const line = `needs ${name}: run ${program.startsWith(PEERS) ? '(cd test/peers && npm ci)' : 'npm ci'}`
  if (process.env.PEERS === 'required') throw new Error(`PEERS=required, and this run ${line}`)
  return { name, program, missing: line }
}
