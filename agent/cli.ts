#!/usr/bin/env node
import { Command, CommanderError } from 'commander'
import { RollcallError } from '../core/error.ts'
import manifest from '../package.json' with { type: 'json' }
import { printLines } from './commands/print.ts'

// What the caller can mend by another command line or another config; everything else is 1.
const WRONG_USE = new Set(['config', 'usage', 'auth_not_configured'])

const EXAMPLES = `
Examples:
  rollcall serve                     who is in the mesh, over HTTP, on 127.0.0.1:8787
  rollcall look web --json           asks each source of web once
  rollcall plan --connected a@h,b@h  what an agent with these two links would do, and why
  rollcall once --state state.json   one round, for cron
  rollcall agent                     beside a node: keeps it in the mesh until SIGTERM

Exit codes: 0 done, 1 failed (once: not formed), 2 wrong use or a mistake in the config.`

// `rollcall look | head` is no mistake; a full disk is one.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
})
process.exitCode = await main(process.argv)

/** Runs a command with its options and its topology, if any; gives the exit code. */
type Run<Given> = (given: Given, topology?: string) => Promise<number>

async function main(argv: readonly string[]): Promise<number> {
  let exitCode = 0
  const program = createProgram((code) => {
    exitCode = code
  })
  try {
    await program.parseAsync(argv)
    return exitCode
  } catch (error) {
    return explain(error, program.opts())
  }
}

function createProgram(exit: (code: number) => void): Command {
  const program = new Command('rollcall')
    .description('Forms meshes of nodes: asks sources who is there, decides whom to connect to, and dials.')
    .version(manifest.version, '--version', 'print the version')
    .option('--config <file>', 'the config file, YAML or JSON', 'rollcall.yaml')
    .option('--debug', 'log everything, and show where a bug is')
    .addHelpText('after', EXAMPLES)
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('(rollcall --help shows what there is)')
    .exitOverride()

  /** A command whose code is loaded when it runs: `agent` stays for weeks, and should hold only what it needs. */
  function command<Given>(usage: string, does: string, load: () => Promise<Run<Given>>): Command {
    return program
      .command(usage)
      .description(does)
      .action(async (...given: unknown[]) => {
        const self = given.at(-1) as Command
        const run = await load()
        exit(await run(self.optsWithGlobals() as Given, self.args[0]))
      })
  }
  const json = ['--json', 'print one JSON document and nothing else'] as const
  const state = ['--state <file>', 'where what is known is kept between two calls'] as const

  command('agent', 'keep this node in the mesh until SIGTERM', async () => (await import('./commands/agent.ts')).agent)
  command('once', 'one round: look, plan, dial', async () => (await import('./commands/once.ts')).once).option(...state)
  command(
    'look [topology]',
    'ask each source once; dials nobody',
    async () => (await import('./commands/look.ts')).look,
  )
    .option('--for <duration>', 'how long to listen to a source that cannot be asked', '6s')
    .option(...json)
  command(
    'plan [topology]',
    'what a round would do, and why; dials nobody',
    async () => (await import('./commands/plan.ts')).plan,
  )
    .option('--connected <nodes>', 'the links to assume, separated by commas')
    .option(...state)
    .option(...json)
  command('leave', 'take this node out of the mesh', async () => (await import('./commands/leave.ts')).leave)
  command('serve', 'serve who is in the mesh over HTTP', async () => (await import('./commands/serve.ts')).serve)
    .option('--port <port>', 'the port to listen on', '8787')
    .option('--host <address>', 'the address to listen on', '127.0.0.1')
  command('schema', 'print the JSON Schema of the config', async () => (await import('./commands/schema.ts')).schema)
  command(
    'token',
    'make a token for auth, and print its hash',
    async () => (await import('./commands/token.ts')).token,
  ).option(...json)
  return program
}

/** Says on stderr what went wrong, and gives the exit code. Only a bug has a stack worth showing. */
function explain(error: unknown, { debug = false }: { debug?: boolean }): number {
  // Commander has printed its own.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
  if (error instanceof RollcallError) {
    printLines([error.message], process.stderr)
    return WRONG_USE.has(error.code) ? 2 : 1
  }
  const { message, stack } = error instanceof Error ? error : new Error(String(error))
  process.stderr.write(debug ? `${stack}\n` : `[rollcall] a bug: ${message}; --debug shows where, please report it\n`)
  return 1
}
