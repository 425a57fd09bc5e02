import { RollcallError } from '../../core/error.ts'
import { serve as listen } from '../../functions/node.ts'
import { type CommonOptions, open } from './open.ts'
import { untilSignal } from './signal.ts'

/** Serves the function until a signal, and says what to try next. */
export async function serve(given: CommonOptions & { port: string; host: string }): Promise<number> {
  const port = Number(given.port)
  if (!/^\d+$/.test(given.port) || port > 65_535) {
    throw new RollcallError('usage', `[serve] expected --port from 0 to 65535, got ${JSON.stringify(given.port)}`)
  }
  const { config, log } = await open(given)
  const served = await listen({ config, log, port, host: given.host })
  process.stdout.write(invitation(served.url, Object.keys(config.topologies), Array.isArray(config.auth)))
  await untilSignal(log)
  await served.close()
  return 0
}

function invitation(url: string, topologies: readonly string[], wantsToken: boolean): string {
  const curl = wantsToken ? 'curl -H "Authorization: Bearer $ROLLCALL_TOKEN"' : 'curl'
  const members = topologies.slice(0, 3).map((topology) => `/v1/topologies/${encodeURIComponent(topology)}/members`)
  const lines = ['/v1/topologies', ...members].map((path) => `  ${curl} ${url}${path}\n`)
  return `rollcall listens on ${url}. Try:\n${lines.join('')}`
}
