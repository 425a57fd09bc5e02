import { systemClock } from '../../agent/clock.ts'
import { createLog } from '../../agent/log.ts'
import { register } from '../../agent/beam/registration.ts'

// A process that does nothing but to be registered: node registrant.ts BASENAME PORT EPMD_PORT. It ends with its stdin.
const [basename = '', port, epmdPort] = process.argv.slice(2)

await register({
  basename,
  port: Number(port),
  hidden: true,
  epmd: { host: '127.0.0.1', port: Number(epmdPort), addresses: [] },
  signal: new AbortController().signal,
  clock: systemClock,
  log: createLog('info'),
  onServing: (serving) => process.stdout.write(`serving ${serving}\n`),
})
process.stdout.write('registered\n')
process.stdin.on('end', () => process.exit()).resume()
