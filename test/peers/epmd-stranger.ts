import { serveEpmd } from '../../agent/beam/epmd-server.ts'
import { EPMD_PORT } from '../../agent/beam/epmd.ts'
import { alive, ask, framed, say } from '../agent/beam/epmd-wire.ts'
import { createFakeLog } from '../agent/fakes.ts'

// Says what an epmd of ours answers to a host that is not on loopback: node epmd-stranger.ts HOST [ADDRESS…], in a network of its own.
const [host = '', ...addresses] = process.argv.slice(2)

const log = createFakeLog()
const server = await serveEpmd({ port: EPMD_PORT, log, ...(addresses.length > 0 && { addresses }) })
const node = await say(EPMD_PORT, alive('a'))
await node.heard(6)
const answers: Record<string, string> = {}
for (const [what, request] of Object.entries({
  register: alive('b'),
  dump: framed('d'),
  kill: framed('k'),
  port: framed('za'),
  names: framed('n'),
})) {
  answers[what] = (await ask(EPMD_PORT, request, host)).toString('latin1')
}
await server.close()
process.stdout.write(JSON.stringify({ answers, log: log.lines }))
