import { atom, binary, decode, encode, type Term } from '../../agent/beam/etf.ts'
import { compareMs, type Figure, formatMs } from './figure.ts'

/** The codec of terms against JSON of the same data: a members document (names and texts as binaries), and a list of node names (as atoms). */
export async function etfFigures(): Promise<Figure[]> {
  const nodes = Array.from({ length: 100 }, (_, index) => `app@10.0.${index >> 3}.${index}`)
  const document = {
    topology: 'web',
    outcome: 'complete',
    ageMs: 1_234,
    members: nodes.map((node, index) => ({
      node,
      status: 'up',
      id: `i-0123456789abc${index}`,
      address: { host: node.slice(4), port: 4_000 + index },
      seenAt: 1_800_000_000_000 + index,
      load: index + 0.25,
    })),
  }
  return [
    ...(await codecFigures('members document', document, termOf(document))),
    ...(await codecFigures('100 node names', nodes, nodes.map(atom))),
  ]
}

async function codecFigures(what: string, data: unknown, term: Term): Promise<Figure[]> {
  const text = JSON.stringify(data)
  const bytes = Buffer.from(text)
  const encoded = encode(term)
  const repeat = Math.ceil(2_000_000 / text.length)
  // To and from bytes on both sides: that is what a socket takes and gives.
  const encoding = await compareMs(
    () => times(repeat, () => encode(term)),
    () => times(repeat, () => Buffer.from(JSON.stringify(data))),
    { rounds: 21, warmup: 10 },
  )
  const decoding = await compareMs(
    () => times(repeat, () => decode(encoded)),
    () => times(repeat, () => JSON.parse(bytes.toString())),
    { rounds: 21, warmup: 10 },
  )
  return [figure(`ETF encode, ${what}`, encoding, repeat), figure(`ETF decode, ${what}`, decoding, repeat)]
}

function figure(name: string, { subjectMs, floorMs }: { subjectMs: number; floorMs: number }, repeat: number): Figure {
  return {
    name,
    subject: formatMs(subjectMs / repeat),
    floor: formatMs(floorMs / repeat),
    value: subjectMs / floorMs,
    unit: 'x',
    aim: { atMost: 1 },
  }
}

function times(count: number, work: () => unknown): unknown {
  let last: unknown
  for (let index = 0; index < count; index++) last = work()
  return last
}

/** As a BEAM would send it: keys as atoms, texts as binaries. */
function termOf(value: unknown): Term {
  if (typeof value === 'number') return value
  if (typeof value === 'string') return binary(value)
  if (Array.isArray(value)) return value.map(termOf)
  return new Map(Object.entries(value as object).map(([key, each]) => [atom(key), termOf(each)]))
}
