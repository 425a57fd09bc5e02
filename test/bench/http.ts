import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { lineOf, startNode } from './child.ts'
import { type Figure, median } from './figure.ts'
import { requestsPerSecond } from './load.ts'

const MEMBERS = 100
const ROUNDS = 15
// Servers run for weeks, and the compiler is not done with either before some 40,000 requests.
const WARMUP = 10
const COUNT = 4_000
const CONNECTIONS = 16

/** `GET members` of a served function, and its 304, against a bare route of Hono that gives the same bytes. */
export async function httpFigures({ root, folder }: { root: string; folder: string }): Promise<Figure[]> {
  const config = join(folder, 'served.json')
  const nodes = Array.from({ length: MEMBERS }, (_, index) => `app@10.0.0.${index}`)
  const topologies = { web: { sources: [{ static: { nodes } }] } }
  await writeFile(config, JSON.stringify({ topologies, log: { level: 'warn' } }))
  const served = startNode(['agent/cli.ts', 'serve', '--port', '0', '--config', config], { root })
  const started = [served]
  try {
    const members = `${await lineOf(served, /http:\/\/127\.0\.0\.1:\d+/)}/v1/topologies/web/members`
    const bare = startNode(['test/bench/bare-server.ts', members], { root })
    started.push(bare)
    const floor = await lineOf(bare, /http:\/\/127\.0\.0\.1:\d+/)
    const etag = (await fetch(members)).headers.get('etag') ?? ''
    return [
      await httpFigure('GET members, 100 of them (log: warn)', members, `${floor}/200`, { expected: 200 }),
      await httpFigure('GET members, 304 (log: warn)', members, `${floor}/304`, {
        expected: 304,
        headers: { 'if-none-match': etag },
      }),
    ].map((figure) => ({ ...figure, aim: { atLeast: 0.8 } }))
  } finally {
    for (const child of started) await child.end()
  }
}

/** The requests per second of two URLs that answer the same, in turns. */
export async function httpFigure(
  name: string,
  subjectUrl: string,
  floorUrl: string,
  asked: { expected: number; headers?: Record<string, string> },
): Promise<Figure> {
  const load = { ...asked, count: COUNT, connections: CONNECTIONS }
  const subjects: number[] = []
  const floors: number[] = []
  for (let round = -WARMUP; round < ROUNDS; round++) {
    const floor = await requestsPerSecond(floorUrl, load)
    const subject = await requestsPerSecond(subjectUrl, load)
    if (round < 0) continue
    floors.push(floor)
    subjects.push(subject)
  }
  const [subject, floor] = [median(subjects), median(floors)]
  return {
    name,
    subject: `${subject.toFixed(0)} req/s`,
    floor: `${floor.toFixed(0)} req/s`,
    value: subject / floor,
    unit: 'x',
  }
}
