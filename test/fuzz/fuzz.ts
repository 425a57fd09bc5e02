import { parseArgs } from 'node:util'
import { runTarget } from './run.ts'
import { targets } from './targets.ts'

const USAGE = `usage: npm run fuzz -- [TARGET ...] [--seconds 60] [--inputs N] [--seed N]

Feeds each target with mutations of valid inputs; TARGET is one or more of
${Object.keys(targets).join(', ')}; all by default, one after the other.
Everything follows from the seed, which is printed: with --inputs a run is the same each time.
Ends with 1 where an input broke a promise, and prints it.
`

interface Given {
  readonly chosen: readonly string[]
  readonly seconds: number
  readonly inputs: number | undefined
  readonly seed: number
  readonly help: boolean
}

async function main(): Promise<number> {
  const given = readArguments()
  if (given instanceof Error) {
    process.stderr.write(`${given.message}\n\n${USAGE}`)
    return 2
  }
  if (given.help) {
    process.stdout.write(USAGE)
    return 0
  }
  let findings = 0
  for (const name of given.chosen) {
    const report = await runTarget(name, given)
    if ('error' in report) {
      findings++
      process.stdout.write(`${name}: FOUND with seed ${given.seed}\n${report.error}\n${shown(report.input)}\n`)
      continue
    }
    const { inputs, seconds, corpus, blocks } = report
    const rate = Math.round(inputs / seconds)
    process.stdout.write(
      `${name.padEnd(12)}${inputs} inputs in ${seconds.toFixed(1)} s (${rate}/s), corpus ${corpus}, ${blocks} blocks, seed ${given.seed}: nothing found\n`,
    )
  }
  return findings === 0 ? 0 : 1
}

function readArguments(): Given | Error {
  try {
    const { values, positionals } = parseArgs({
      options: {
        seconds: { type: 'string' },
        inputs: { type: 'string' },
        seed: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
      allowPositionals: true,
    })
    const unknown = positionals.find((name) => !Object.hasOwn(targets, name))
    if (unknown !== undefined) return new Error(`expected one of ${Object.keys(targets).join(', ')}, got ${unknown}`)
    const [seconds = 60, inputs, seed = Date.now() % 2 ** 32] = [values.seconds, values.inputs, values.seed].map(
      toNumber,
    )
    const chosen = positionals.length === 0 ? Object.keys(targets) : positionals
    return { chosen, seconds, inputs, seed, help: values.help }
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}

function toNumber(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (/^\d+$/.test(text)) return Number(text)
  throw new Error(`expected a whole number, got ${text}`)
}

/** As text where it is that, else in base64. */
function shown(input: Uint8Array): string {
  const text = Buffer.from(input).toString()
  return /^[\t\n\x20-\x7e]*$/.test(text) ? JSON.stringify(text) : `base64 ${Buffer.from(input).toString('base64')}`
}

process.exitCode = await main()
