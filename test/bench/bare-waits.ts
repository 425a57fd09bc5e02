// The floor of how soon a registration is known: it holds requests and answers them together, and does nothing besides. A client of
// rollcall takes its answers for those of a function. For Node, and for a Durable Object.

interface Environment {
  readonly REGISTRY: {
    idFromName(name: string): object
    get(id: object): { fetch(request: Request): Promise<Response> }
  }
}

// What those of a function are, so that as much goes over the wire.
const HEADERS = {
  'Content-Type': 'application/json',
  'Cache-Control': 'private, no-cache',
  Age: '0',
  'Rollcall-Age-Ms': '0',
  'X-Request-Id': '00000000-0000-0000-0000-000000000000',
}
const HEAD = { topology: 'registered', outcome: 'partial', ageMs: 0, stale: false }
const SOURCES = [{ source: 'registry', outcome: 'partial', ageMs: 0 }]

/** One topology, whoever calls. */
export function createBareTopology(): (request: Request) => Promise<Response> {
  const members: object[] = []
  let waiting: (() => void)[] = []
  let text = documentOf()
  const revisionOf = () => String(members.length)
  const etagOf = () => `W/"${revisionOf()}"`

  function documentOf(): string {
    return JSON.stringify({ ...HEAD, revision: String(members.length), sources: SOURCES, members })
  }

  function register(node: string, told: object): Response {
    members.push({ node, status: 'up', ...told })
    text = documentOf()
    const woken = waiting
    waiting = []
    for (const wake of woken) wake()
    return Response.json({ ttlMs: 600_000, revision: revisionOf() })
  }

  function held(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms)
      waiting.push(() => {
        clearTimeout(timer)
        resolve()
      })
    })
  }

  return async (request) => {
    const { pathname, searchParams } = new URL(request.url)
    if (request.method === 'PUT') {
      const node = decodeURIComponent(pathname.slice(pathname.lastIndexOf('/') + 1))
      return register(node, (await request.json()) as object)
    }
    const known = request.headers.get('if-none-match')
    if (known === etagOf()) await held(Number.parseInt(searchParams.get('wait') ?? '0'))
    const headers = { ...HEADERS, ETag: etagOf() }
    return known === etagOf() ? new Response(null, { status: 304, headers }) : new Response(text, { headers })
  }
}

/** In the place of rollcall's own. */
export class RegistryObject {
  readonly #answer = createBareTopology()

  fetch(request: Request): Promise<Response> {
    return this.#answer(request)
  }
}

export default {
  fetch(request: Request, { REGISTRY }: Environment): Promise<Response> {
    return REGISTRY.get(REGISTRY.idFromName('registered')).fetch(request)
  },
}
