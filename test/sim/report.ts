import { writeFile } from 'node:fs/promises'
import { type Cell, chart } from './chart.ts'
import { contenders } from './contenders.ts'
import { invariants } from './invariants/all.ts'
import { measured } from './measured.ts'
import type { Metrics } from './metrics.ts'
import { reasons } from './reasons.ts'
import type { Scenario } from './scenario.ts'
import { failures } from './scenarios/failures.ts'
import { libclusterFaults } from './scenarios/libcluster.ts'

const SEED = 1
const DOCUMENT = 'docs/safety.md'
const PICTURE = 'docs/safety.svg'

interface Row {
  readonly scenario: Scenario
  /** In the order of the contenders. */
  readonly metrics: readonly Metrics[]
}

interface Measure {
  readonly key: keyof Metrics
  readonly title: string
  readonly about: string
  readonly show: (value: number) => string
}

const plain = (value: number) => String(value)
const seconds = (ms: number) => (ms === Infinity ? 'never' : `${ms / 1_000} s`)
const measures: readonly Measure[] = [
  {
    key: 'wrongCuts',
    title: 'Wrong cuts',
    about: 'links lost by a decision, or in its wake, though both nodes ran, were listed and could hear each other',
    show: plain,
  },
  {
    key: 'wrongMeshMs',
    title: 'Time with a wrong mesh',
    about: 'how long some link was missing that could have stood, or stood though one of its nodes was not listed',
    show: seconds,
  },
  {
    key: 'convergeMs',
    title: 'Time to converge',
    about: 'from the end of the last fault until the mesh was right and stayed so; never: not by the end of the run',
    show: seconds,
  },
  { key: 'dials', title: 'Dials', about: 'all dials of all agents', show: plain },
  {
    key: 'deadDialled',
    title: 'Dead nodes still dialled',
    about: 'dead nodes that nobody lists and that were dialled all the same in the last two minutes of the run',
    show: plain,
  },
]

const rows = await runAll([...failures, ...libclusterFaults])
const cells = rows.flatMap(({ scenario, metrics }) =>
  contenders.map(({ name }, index): Cell => {
    return { scenario: scenario.name, contender: name, seconds: (metrics[index]?.wrongMeshMs ?? 0) / 1_000 }
  }),
)
// Each table ends its own line.
await writeFile(DOCUMENT, documentOf(rows).replaceAll(/\n{3,}/g, '\n\n'))
console.log(`${DOCUMENT}: ${rows.length} scenarios, ${contenders.length} policies`)
try {
  await writeFile(PICTURE, `${await chart(cells)}\n`)
  console.log(PICTURE)
} catch (error) {
  console.error(`${PICTURE} is not drawn: npm ci --prefix test/sim installs what draws it`, error)
  process.exitCode = 1
}

async function runAll(scenarios: readonly Scenario[]): Promise<Row[]> {
  const done: Row[] = []
  for (const scenario of scenarios) {
    const metrics: Metrics[] = []
    for (const contender of contenders) {
      const watched = contender.name === 'rollcall' ? invariants : []
      const made = await measured(scenario, { seed: SEED, contender, invariants: watched })
      for (const { invariant, message } of made.violations) {
        console.error(`VIOLATION of ${invariant} in ${scenario.name}: ${message}`)
        process.exitCode = 1
      }
      metrics.push(made.metrics)
    }
    done.push({ scenario, metrics })
  }
  return done
}

function documentOf(all: readonly Row[]): string {
  const names = contenders.map(({ name }) => name)
  return `# How safe it is

${all.length} ways in which discovery fails, each played in a simulated mesh of nodes with the same seed, once with rollcall and once with
what others do in its place. Made by \`npm run sim:report\`, never by hand; [test/sim](../test/sim) holds the scenarios, the
policies and the simulator. Every agent is the real \`agent/agent.ts\`; only its decision is exchanged. The world around it is a model of
OTP 25 and later: a full mesh in which a link that is cut from one side isolates both nodes.

- **rollcall**: as it is by default. A node's own agent takes it out of the mesh.
- **libcluster** 3.5.0: an error is an empty answer; who is not in the answer is cut at once. Dialled in parallel here, which it is not.
- **never cut**: gen_cluster, nessie_cluster, dns_cluster.
- **Eureka**: each 60 s at most 15% of those known, of those that the last answer left out, are cut.
- **Envoy**: who is not in the answer is forgotten when it has no link either, and never in panic (less than half linked); no link is cut.

![How long each policy had a wrong mesh](safety.svg)

${table(
  ['all scenarios together', ...names],
  measures.map((measure) => [measure.title, ...contenders.map((_, index) => sum(all, measure, index))]),
)}

## Where rollcall is not best

${table(
  ['scenario', 'measure', 'rollcall', 'best', 'why'],
  measures.flatMap((measure) => all.flatMap((row) => worse(row, measure))),
)}

${measures.map((measure) => section(all, measure, names)).join('\n')}
## The scenarios

${table(
  ['scenario', 'nodes', 'what happens'],
  all.map(({ scenario: { name, nodes, about } }) => [name, String(nodes.length), about]),
)}`
}

function section(all: readonly Row[], { key, title, about, show }: Measure, names: readonly string[]): string {
  const lines = all.map(({ scenario, metrics }) => [scenario.name, ...metrics.map((each) => show(each[key]))])
  return `## ${title}\n\n${about[0]?.toUpperCase()}${about.slice(1)}.\n\n${table(['scenario', ...names], lines)}`
}

function sum(all: readonly Row[], { key, show }: Measure, index: number): string {
  const values = all.map(({ metrics }) => metrics[index]?.[key] ?? 0)
  const ends = values.filter(Number.isFinite)
  const total = show(ends.reduce((before, value) => before + value, 0))
  return ends.length === values.length ? total : `${total}, and ${values.length - ends.length} times never`
}

function worse({ scenario, metrics }: Row, { key, title, show }: Measure): string[][] {
  const values = metrics.map((each) => each[key])
  const [own = 0] = values
  const least = Math.min(...values)
  if (own <= least) return []
  const best = contenders.flatMap(({ name }, index) => (values[index] === least ? [name] : [])).join(', ')
  return [[scenario.name, title.toLowerCase(), show(own), `${show(least)} (${best})`, reasons(scenario.name, key)]]
}

function table(head: readonly string[], lines: readonly (readonly string[])[]): string {
  const line = (entries: readonly string[]) => `| ${entries.join(' | ')} |\n`
  return line(head) + line(head.map(() => '---')) + lines.map(line).join('')
}
