import { join } from 'node:path'
import { build } from 'esbuild'
import { bundle } from '../../infra/aws/bundle.ts'
import { ownParts, partsOf, WORKER_BUNDLE } from '../functions/worker-bundle.ts'
import { lineOf, startNode } from './child.ts'
import { type Figure, formatMs, median } from './figure.ts'
import { httpFigure } from './http.ts'
import { startWorkerd } from './workerd.ts'

const PATH = '/v1/topologies/web/members'
const MEMBERS = 100
const IMPORTS = 11
// What test/functions/worker-size.test.ts holds the Worker to.
const OWN_BYTES = 60_000

interface Place {
  readonly root: string
  readonly folder: string
}

/** What the two edge hosts cost: Lambda's cold import, the Worker's own bytes, and its requests per second on workerd. */
export async function edgeFigures(place: Place): Promise<Figure[]> {
  return [...(await coldFigures(place)), await sizeFigure(), await workerdFigure(place)]
}

function configOf(nodes: readonly string[]): string {
  return JSON.stringify({
    topologies: { web: { sources: [{ static: { nodes } }] } },
    auth: 'none',
    log: { level: 'warn' },
  })
}

interface ColdStart {
  readonly importMs: number
  /** From the beginning of the import: what a caller waits for. */
  readonly answerMs: number
}

/**
 * The handler in a new process, bundled as the stack of infra/aws bundles it, against a bare handler of Hono: its `import()`, and the time
 * until its first answer, for which Node loads its own fetch in both.
 */
async function coldFigures({ root, folder }: Place): Promise<Figure[]> {
  const [subject, floor] = [join(folder, 'lambda'), join(folder, 'bare-lambda')]
  await bundle(subject, 'functions/lambda.ts')
  await bundle(floor, 'test/bench/bare-lambda.ts')
  const subjects: ColdStart[] = []
  const floors: ColdStart[] = []
  // The first of each brings the files into memory.
  for (let round = -1; round < IMPORTS; round++) {
    const [bare, own] = [await coldStart(floor, root), await coldStart(subject, root)]
    if (round < 0) continue
    floors.push(bare)
    subjects.push(own)
  }
  const figure = (name: string, timeOf: (start: ColdStart) => number): Figure => {
    const [subjectMs, floorMs] = [median(subjects.map(timeOf)), median(floors.map(timeOf))]
    const [subject, floor] = [formatMs(subjectMs), formatMs(floorMs)]
    return { name, subject, floor, value: subjectMs / floorMs, unit: 'x', aim: { atMost: 1.5 } }
  }
  return [
    figure('cold import of the Lambda handler', ({ importMs }) => importMs),
    figure('cold import and first answer of the Lambda handler', ({ answerMs }) => answerMs),
    // The share of a cold start that Lambda's memory slows: with 512 MB to about a third.
    figure('of that, the first answer', ({ importMs, answerMs }) => answerMs - importMs),
  ]
}

// The answer also proves that the config was taken: without it the import would have been measured without the routes.
const COLD_START = `
const [, file, config, path] = process.argv
process.env.ROLLCALL_CONFIG = config
const requestContext = { domainName: 'localhost', http: { method: 'GET', path } }
const event = { version: '2.0', rawPath: path, rawQueryString: '', headers: {}, requestContext }
const start = process.hrtime.bigint()
const { handler } = await import(file)
const imported = process.hrtime.bigint() - start
const { statusCode } = await handler(event)
const answered = process.hrtime.bigint() - start
if (statusCode !== 200) process.exit(1)
console.log('cold start ' + imported + ' ' + answered)
`

async function coldStart(folder: string, root: string): Promise<ColdStart> {
  const args = ['--input-type=module', '-e', COLD_START, join(folder, 'index.mjs'), configOf(['a@h']), PATH]
  const child = startNode(args, { root })
  try {
    const [imported, answered] = (await lineOf(child, /cold start \d+ \d+/)).split(' ').slice(2).map(Number)
    return { importMs: Number(imported) / 1e6, answerMs: Number(answered) / 1e6 }
  } finally {
    await child.end()
  }
}

async function sizeFigure(): Promise<Figure> {
  const { metafile } = await build(WORKER_BUNDLE)
  const total = (parts: readonly [string, number][]) => parts.reduce((sum, [, bytes]) => sum + bytes, 0)
  const parts = partsOf(metafile)
  const own = total(ownParts(parts))
  return {
    name: 'the Worker, minified, without its libraries',
    subject: `${own} of ${total(parts)} bytes`,
    floor: `${OWN_BYTES} bytes`,
    value: own,
    unit: 'bytes',
    aim: { atMost: OWN_BYTES },
  }
}

/** `GET members` of the Worker, against a bare worker of Hono that gives the same bytes from the same workerd. */
async function workerdFigure(place: Place): Promise<Figure> {
  const nodes = Array.from({ length: MEMBERS }, (_, index) => `app@10.0.0.${index}`)
  const rollcall = `(name = "ROLLCALL_CONFIG", text = ${JSON.stringify(configOf(nodes))})`
  const workers = [
    { name: 'rollcall', bindings: [rollcall] },
    {
      name: 'bare',
      entry: join(place.root, 'test/bench/bare-worker.ts'),
      bindings: ['(name = "ROLLCALL", service = "rollcall")'],
    },
  ]
  const workerd = await startWorkerd(workers, place)
  try {
    const urlOf = (name: string) => `${workerd.urls.get(name)}${PATH}`
    return await httpFigure('GET members on workerd, 100 of them', urlOf('rollcall'), urlOf('bare'), { expected: 200 })
  } finally {
    await workerd.end()
  }
}
