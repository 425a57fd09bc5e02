import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect, parseArgs } from 'node:util'
import { agentsFigures } from './agents.ts'
import { beamFigures } from './beam.ts'
import { edgeFigures } from './edge.ts'
import { etfFigures } from './etf.ts'
import { type Figure, isMet, type Skipped } from './figure.ts'
import { httpFigures } from './http.ts'
import { memberFigures } from './member.ts'
import { kubernetesFigures } from './kubernetes.ts'
import { memoryFigures } from './memory.ts'
import { planFigures, stateFigures } from './plan.ts'

const parts: Record<string, (place: Place) => Promise<readonly (Figure | Skipped)[]>> = {
  plan: planFigures,
  state: async () => stateFigures(),
  beam: beamFigures,
  member: memberFigures,
  etf: etfFigures,
  http: httpFigures,
  edge: edgeFigures,
  agents: agentsFigures,
  kubernetes: kubernetesFigures,
  memory: memoryFigures,
}

const USAGE = `usage: npm run bench -- [--json] [PART ...]

Measures rollcall against floors that run beside it, and prints each figure with its aim. PART is one or more of
${Object.keys(parts).join(', ')}; all by default. --json prints one JSON document.
Ends with 1 when a part failed; an aim that was not met is no failure.
`

interface Place {
  /** The checkout. */
  readonly root: string
  /** A folder for files of the moment. */
  readonly folder: string
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
  const folder = await mkdtemp(join(tmpdir(), 'rollcall-bench-'))
  const root = join(import.meta.dirname, '../..')
  const figures: (Figure | Skipped)[] = []
  const failed: string[] = []
  try {
    for (const name of given.chosen) {
      process.stderr.write(`measuring ${name} …\n`)
      // One broken part must not cost the figures of the others; the exit code tells.
      const measured = await parts[name]?.({ root, folder }).catch((error: unknown) => {
        failed.push(name)
        process.stderr.write(`${inspect(error)}\n`)
        return [{ name, skipped: 'failed, see stderr' }]
      })
      figures.push(...(measured ?? []))
    }
  } finally {
    await rm(folder, { recursive: true })
  }
  process.stdout.write(given.json ? `${JSON.stringify(documentOf(figures), undefined, 2)}\n` : tableOf(figures))
  return failed.length === 0 ? 0 : 1
}

function readArguments(): { json: boolean; help: boolean; chosen: readonly string[] } | Error {
  try {
    const { values, positionals } = parseArgs({
      options: { json: { type: 'boolean', default: false }, help: { type: 'boolean', short: 'h', default: false } },
      allowPositionals: true,
    })
    const unknown = positionals.find((name) => !Object.hasOwn(parts, name))
    if (unknown !== undefined) return new Error(`expected one of ${Object.keys(parts).join(', ')}, got ${unknown}`)
    return { ...values, chosen: positionals.length === 0 ? Object.keys(parts) : positionals }
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}

function documentOf(figures: readonly (Figure | Skipped)[]): object {
  return {
    node: process.version,
    figures: figures.map((figure) => ('skipped' in figure ? figure : { ...figure, met: isMet(figure) })),
  }
}

function tableOf(figures: readonly (Figure | Skipped)[]): string {
  const head = ['figure', 'subject', 'floor', 'ratio', 'aim', 'met']
  const rows = [head, ...figures.map((figure) => ('skipped' in figure ? [figure.name, figure.skipped] : rowOf(figure)))]
  const measured = rows.filter(({ length }) => length === head.length)
  const widths = head.map((_, column) => Math.max(...measured.map((row) => row[column]?.length ?? 0)))
  widths[0] = Math.max(...rows.map(([name = '']) => name.length))
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('')
}

function rowOf(figure: Figure): string[] {
  const { name, subject, floor, aim } = figure
  const met = isMet(figure)
  const aimed =
    aim === undefined ? '' : 'atMost' in aim ? `<= ${inUnit(figure, aim.atMost)}` : `>= ${inUnit(figure, aim.atLeast)}`
  return [name, subject, floor, inUnit(figure), aimed, met === undefined ? '' : met ? 'yes' : 'NO']
}

function inUnit({ unit, value }: Figure, amount = value): string {
  if (unit === 'x') return `${amount.toFixed(2)}x`
  return unit === 'MB' ? `+${amount.toFixed(1)} MB` : `${amount.toFixed(0)} bytes`
}

process.exitCode = await main()
