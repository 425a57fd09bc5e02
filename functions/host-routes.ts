import type { Route } from './app.ts'
import { problem } from './problem.ts'

const JSON_TYPE = { 'Content-Type': 'application/json' }
const READY = { status: 200, headers: { ...JSON_TYPE, 'Cache-Control': 'no-store' }, body: '{"status":"ready"}' }

/** /openapi.json, for hosts that do not serve `functions/public/` themselves, as Workers do. */
export const description: Route = async () => {
  const { default: openapi } = await import('./public/openapi.json', { with: { type: 'json' } })
  return { status: 200, headers: JSON_TYPE, body: JSON.stringify(openapi) }
}

/** /readyz: every source has answered. For a host that lives longer than a request. */
export const readiness: Route = async (observers) => {
  await Promise.all(observers.flatMap((observer) => observer.refresh() ?? []))
  const askers = observers.flatMap((observer) => observer.askers)
  const answered = askers.filter((asker) => asker.hasAnswered()).length
  if (answered === askers.length) return READY
  throw problem('not_ready', 'function', `an answer of all ${askers.length} sources, got ${answered}`)
}
