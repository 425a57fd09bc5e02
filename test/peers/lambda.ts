import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import type { Host } from '../contract/contract.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const RIC = fileURLToPath(new URL('node_modules/aws-lambda-ric/index.mjs', import.meta.url))
const PATH_PREFIX = '/2018-06-01/runtime'

/** Whether the test of Lambda must be skipped: `false`, or one line that says what to do. Under `PEERS=required` that is an error. */
export function missingLambda(): string | false {
  if (existsSync(RIC)) return false
  const line = 'run npm ci in test/peers (needs cmake, g++, make, python3, autoconf, automake, libtool, xz)'
  if (process.env.PEERS === 'required') throw new Error(`PEERS=required: ${line}`)
  return line
}

/** How the call comes to Lambda: both have the event of payload format 2.0, and one of them encodes bodies. */
export type Front = 'function-url' | 'http-api'

interface Invocation {
  readonly event: object
  readonly settle: (outcome: { result: unknown } | { error: unknown }) => void
}

/**
 * The handler in AWS's own runtime interface client, which takes its calls, one at a time, from a Runtime API served
 * here: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
 */
export async function startLambda(
  environment: Record<string, string>,
  front: Front = 'function-url',
): Promise<Host & { logs: () => string }> {
  const folder = await mkdtemp(join(tmpdir(), 'rollcall-lambda-'))
  await build({
    entryPoints: [join(ROOT, 'functions/lambda.ts')],
    outfile: join(folder, 'index.mjs'),
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    // What dns-packet requires has to come from somewhere in an ES module.
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
  })
  const api = await startRuntimeApi()
  const child = spawn(process.execPath, [RIC, 'index.handler'], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env.PATH,
      AWS_LAMBDA_RUNTIME_API: api.address,
      LAMBDA_TASK_ROOT: folder,
      _HANDLER: 'index.handler',
      AWS_LAMBDA_FUNCTION_NAME: 'rollcall',
      AWS_LAMBDA_FUNCTION_VERSION: '1',
      AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '128',
      AWS_LAMBDA_LOG_GROUP_NAME: 'rollcall',
      AWS_LAMBDA_LOG_STREAM_NAME: 'rollcall',
      ...environment,
    },
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  }
  const exited = once(child, 'exit')
  void exited.then(() => api.fail(new Error(`expected the runtime to stay, got its end: ${output}`)))

  return {
    logs: () => output,
    async fetch(path, init) {
      const event = await eventOf(new Request(new URL(path, 'https://lambda.test'), init), front)
      const answer = api.invoke(event)
      return responseOf((await (init?.signal ? abortable(answer, init.signal) : answer)) as Result)
    },
    async close() {
      child.kill('SIGKILL')
      await exited
      await api.close()
      await rm(folder, { recursive: true })
    },
  }
}

async function startRuntimeApi() {
  const queue: Invocation[] = []
  const running = new Map<string, Invocation>()
  let waiting: ServerResponse | undefined
  let failure: Error | undefined

  function handOver(): void {
    const [next] = queue
    if (waiting === undefined || next === undefined) return
    queue.shift()
    const id = randomUUID()
    running.set(id, next)
    waiting.writeHead(200, {
      'content-type': 'application/json',
      'Lambda-Runtime-Aws-Request-Id': id,
      'Lambda-Runtime-Deadline-Ms': String(Date.now() + 30_000),
      'Lambda-Runtime-Invoked-Function-Arn': 'arn:aws:lambda:eu-central-1:123456789012:function:rollcall',
      'Lambda-Runtime-Trace-Id': 'Root=1-00000000-000000000000000000000000',
    })
    waiting.end(JSON.stringify(next.event))
    waiting = undefined
  }

  async function settle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await json(request)
    const [, id = '', kind] = /invocation\/([^/]+)\/(response|error)$/.exec(request.url ?? '') ?? []
    running.get(id)?.settle(kind === 'response' ? { result: body } : { error: body })
    running.delete(id)
    response.writeHead(202).end('{}')
  }

  const server = createServer((request, response) => {
    if (request.url === `${PATH_PREFIX}/invocation/next`) {
      waiting = response
      handOver()
      return
    }
    void settle(request, response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    invoke(event: object): Promise<unknown> {
      if (failure !== undefined) return Promise.reject(failure)
      return new Promise((resolve, reject) => {
        queue.push({
          event,
          settle: (outcome) => {
            if ('result' in outcome) resolve(outcome.result)
            else reject(new Error(`expected a result, got ${JSON.stringify(outcome.error)}`))
          },
        })
        handOver()
      })
    },
    fail(error: Error) {
      failure = error
      for (const { settle } of [...running.values(), ...queue]) settle({ error: error.message })
    },
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

interface Result {
  readonly statusCode: number
  readonly headers: Record<string, string>
  readonly body: string
  readonly isBase64Encoded: boolean
}

function responseOf({ statusCode, headers, body, isBase64Encoded }: Result): Response {
  const bytes = isBase64Encoded ? Buffer.from(body, 'base64') : body
  return new Response(statusCode === 304 ? null : bytes, { status: statusCode, headers })
}

/** Payload format 2.0: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads */
async function eventOf(request: Request, front: Front): Promise<object> {
  const { host, pathname, searchParams, search } = new URL(request.url)
  const body = await request.text()
  const isBase64Encoded = front === 'http-api' && body !== ''
  return {
    version: '2.0',
    routeKey: '$default',
    rawPath: pathname,
    rawQueryString: search.slice(1),
    headers: { host, ...Object.fromEntries(request.headers) },
    queryStringParameters: Object.fromEntries(searchParams),
    requestContext: {
      accountId: front === 'http-api' ? '123456789012' : 'anonymous',
      apiId: 'rollcall',
      domainName: host,
      domainPrefix: 'rollcall',
      http: { method: request.method, path: pathname, protocol: 'HTTP/1.1', sourceIp: '127.0.0.1', userAgent: 'test' },
      requestId: randomUUID(),
      routeKey: '$default',
      stage: '$default',
      time: '01/Jan/2026:00:00:00 +0000',
      timeEpoch: Date.UTC(2026, 0, 1),
    },
    ...(body !== '' && { body: isBase64Encoded ? Buffer.from(body).toString('base64') : body }),
    isBase64Encoded,
  }
}

/** The caller goes; Lambda goes on, as it does. */
function abortable<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return Promise.race([
    promise,
    new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
  ])
}
