import type { RequestListener, ServerResponse } from 'node:http'
import type { TestContext } from 'node:test'
import { serveLoopback } from '../../contract/loopback.ts'

/** An instance of the service, by the address of the service; `passing` unless it is said otherwise. */
export interface Instance {
  readonly address: string
  readonly status?: 'passing' | 'warning' | 'critical'
}

/** What one datacenter says now. */
export interface Datacenter {
  instances: (string | Instance)[]
  index: number
  /** What X-Consul-Index says instead of the index; null leaves it out. */
  header?: string | null
  /** It refuses every question. */
  refuses?: { status: number; body: string; headers?: Record<string, string> } | undefined
}

export interface Question {
  readonly datacenter: string
  readonly query: URLSearchParams
  readonly url: string
  readonly token: string | undefined
}

/** A Consul agent of `dc1` that a test leads by the hand: a question that waits for a change is held until there is one, or until it is let go. */
export interface ConsulAgent {
  readonly url: string
  readonly questions: Question[]
  /** Resolves with the question of that number, from 0, once it has come. */
  question(number: number): Promise<Question>
  /** How many questions are held. */
  held(): number
  /** Resolves once so many questions are held. */
  holds(count: number): Promise<void>
  /** Changes what a datacenter says, with the next index, and answers who waits for that. */
  change(instances: (string | Instance)[], options?: Partial<Datacenter> & { datacenter?: string }): void
  /** Answers who waits, as when their time is over. */
  letGo(datacenter?: string): void
  /** Ends the connections of who waits. */
  hangUp(datacenter?: string): void
}

export interface ConsulAgentOptions {
  datacenters?: Record<string, (string | Instance)[]>
  /** `deny`: without a token nothing is seen. What each token may see; another one is unknown. */
  acl?: { policy: 'allow' | 'deny'; tokens: Record<string, 'everything' | 'nothing' | 'some'> }
}

/**
 * Answers /v1/health/service/web as Consul does: errors are text, a datacenter that it does not know is a 500, what a token may not see
 * is left out and told in a header, and not even that without a token.
 * https://developer.hashicorp.com/consul/api-docs/health, …/features/blocking; seen with Consul 1.15
 */
export async function startConsulAgent(
  t: TestContext,
  { datacenters = { dc1: ['10.0.0.1'] }, acl }: ConsulAgentOptions = {},
): Promise<ConsulAgent> {
  const known = new Map<string, Datacenter>(
    Object.entries(datacenters).map(([name, instances]) => [name, { instances, index: 10 }]),
  )
  const questions: Question[] = []
  let waiting: { question: Question; response: ServerResponse }[] = []
  let listeners: (() => void)[] = []

  const handle: RequestListener = (request, response) => {
    const { pathname, searchParams: query } = new URL(request.url ?? '', 'http://agent')
    if (pathname !== '/v1/health/service/web') {
      response.writeHead(404).end()
      return
    }
    const token = request.headers['x-consul-token']
    const datacenter = query.get('dc') ?? 'dc1'
    const question = { datacenter, query, url: request.url ?? '', token: typeof token === 'string' ? token : undefined }
    questions.push(question)
    const since = Number(query.get('index') ?? 0)
    const { index = 0, refuses } = known.get(datacenter) ?? {}
    if (since > 0 && since >= index && refuses === undefined) waiting.push({ question, response })
    else answer(question, response)
    tell()
  }

  function answer({ datacenter, query, token }: Question, response: ServerResponse): void {
    const refuse = (status: number, body: string, headers: Record<string, string> = {}) =>
      void response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8', ...headers }).end(body)
    const sight =
      token === undefined ? acl?.policy : (acl?.tokens[token] ?? (acl === undefined ? 'everything' : undefined))
    const state = known.get(datacenter)
    if (sight === undefined && acl !== undefined) return refuse(403, 'ACL not found')
    if (state === undefined) return refuse(500, 'No path to datacenter')
    if (state.refuses !== undefined) return refuse(state.refuses.status, state.refuses.body, state.refuses.headers)
    const seen = sight === 'deny' || sight === 'nothing' ? [] : state.instances.slice(sight === 'some' ? 1 : 0)
    const entries = seen
      .map((instance) => entryOf(typeof instance === 'string' ? { address: instance } : instance, datacenter))
      .filter(({ Checks }) => !query.has('passing') || Checks.every(({ Status }) => Status === 'passing'))
    const header = state.header === undefined ? String(state.index) : state.header
    response.writeHead(200, {
      'Content-Type': 'application/json',
      'X-Consul-Default-Acl-Policy': acl?.policy ?? 'allow',
      ...(header !== null && { 'X-Consul-Index': header }),
      ...((sight === 'nothing' || sight === 'some') && { 'X-Consul-Results-Filtered-By-Acls': 'true' }),
    })
    response.end(JSON.stringify(entries))
  }

  /** Those who wait in a datacenter, who do so no more. */
  function take(datacenter: string): typeof waiting {
    const taken = waiting.filter(({ question }) => question.datacenter === datacenter)
    waiting = waiting.filter(({ question }) => question.datacenter !== datacenter)
    return taken
  }

  function letGo(datacenter = 'dc1'): void {
    for (const { question, response } of take(datacenter)) answer(question, response)
  }

  function tell(): void {
    const told = listeners
    listeners = []
    for (const listener of told) listener()
  }

  async function until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => void listeners.push(resolve))
  }

  const { url } = await serveLoopback(t, handle)
  return {
    url,
    questions,
    async question(number) {
      await until(() => questions.length > number)
      return questions[number] as Question
    },
    held: () => waiting.length,
    holds: (count) => until(() => waiting.length === count),
    change(instances, { datacenter = 'dc1', ...rest } = {}) {
      const { index = 0 } = known.get(datacenter) ?? {}
      known.set(datacenter, { instances, index: index + 1, ...rest })
      letGo(datacenter)
    },
    letGo,
    hangUp(datacenter = 'dc1') {
      for (const { response } of take(datacenter)) response.destroy()
    },
  }
}

function entryOf({ address, status = 'passing' }: Instance, datacenter: string) {
  return {
    Node: { ID: '', Node: 'n1', Address: '10.9.9.9', Datacenter: datacenter, Meta: {} },
    Service: { ID: `web-${address}`, Service: 'web', Tags: [], Address: address, Port: 4_000, Meta: null },
    Checks: [{ Node: 'n1', CheckID: 'serfHealth', Status: status, ServiceID: '' }],
  }
}
