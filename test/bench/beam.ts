import { once } from 'node:events'
import { connect } from 'node:net'
import { dial } from '../../agent/beam/dial.ts'
import { createNode } from '../../agent/beam/node.ts'
import { startEpmd, startErl } from '../peers/erlang.ts'
import { missingPrograms } from '../peers/programs.ts'
import { lineOf, startNode } from './child.ts'
import { type Figure, formatMs, median, type Skipped } from './figure.ts'

const NAME = 'distribution connect to a BEAM'
const COOKIE = 'bench'
const ROUNDS = 200
const WARMUP = 50

/** A whole dial (epmd, TCP, handshake) of a real BEAM against as many round trips with servers that only echo. */
export async function beamFigures({ root }: { root: string }): Promise<(Figure | Skipped)[]> {
  const missing = missingPrograms('erl')
  if (missing !== false) return [{ name: NAME, skipped: missing }]
  const epmd = await startEpmd({ address: '127.0.0.1' })
  const ends: (() => Promise<void>)[] = [() => epmd.stop()]
  try {
    const peer = await startErl({ name: 'bench@127.0.0.1', cookie: COOKIE, epmdPort: epmd.port })
    ends.unshift(() => peer.kill())
    const bare = startNode(['test/bench/bare-peer.ts'], { root })
    ends.unshift(() => bare.end())
    const [bareEpmd = 0, bareNode = 0] = (await lineOf(bare, /\d+ \d+/)).split(' ').map(Number)
    const self = createNode('rollcall-bench@127.0.0.1')
    const subjects: number[] = []
    const floors: number[] = []
    for (let round = -WARMUP; round < ROUNDS; round++) {
      const floorMs = await timed(() => bareConnect(bareEpmd, bareNode))
      const subjectMs = await timed(() => dial(peer.node, { self, cookie: COOKIE, epmd: { port: epmd.port } }))
      if (round < 0) continue
      floors.push(floorMs)
      subjects.push(subjectMs)
    }
    const [subjectMs, floorMs] = [median(subjects), median(floors)]
    return [
      { name: NAME, subject: formatMs(subjectMs), floor: formatMs(floorMs), value: subjectMs / floorMs, unit: 'x' },
    ]
  } finally {
    for (const end of ends) await end()
  }
}

/** How long it took to connect, in ms; the connection is closed again outside of the time. */
async function timed(open: () => Promise<{ close(): void }>): Promise<number> {
  const start = process.hrtime.bigint()
  const connection = await open()
  const ms = Number(process.hrtime.bigint() - start) / 1e6
  connection.close()
  return ms
}

/** One exchange and the other side's close with the one, two exchanges with the other. */
async function bareConnect(epmdPort: number, nodePort: number): Promise<{ close(): void }> {
  const epmd = connect({ host: '127.0.0.1', port: epmdPort })
  epmd.resume()
  await once(epmd, 'connect')
  epmd.write(Buffer.alloc(8))
  await once(epmd, 'close')
  const node = connect({ host: '127.0.0.1', port: nodePort, noDelay: true })
  await once(node, 'connect')
  node.write(Buffer.alloc(41))
  await once(node, 'data')
  node.write(Buffer.alloc(23))
  await once(node, 'data')
  return { close: () => node.destroy() }
}
