import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { Readable } from 'node:stream'
import { RollcallError } from '../../core/error.ts'

// Finds a peer that went away without a word before the watch on it is due; the system's own default is two hours.
const TCP_KEEPALIVE_MS = 15_000
// Of these the answer has no body, and a Response takes none.
const EMPTY = new Set([204, 205, 304])
// How Node calls the ways in which a certificate is not the right one.
const UNTRUSTED =
  /^(ERR_TLS_|UNABLE_TO_|CERT_|DEPTH_ZERO_|SELF_SIGNED_|INVALID_CA|INVALID_PURPOSE|PATH_LENGTH|HOSTNAME_)/

/** Connections to one server: a `fetch` for GET, and their end. */
export interface Connection {
  readonly fetch: typeof fetch
  close(): void
}

/**
 * A `fetch` that believes the given certificates and no others, which the global one cannot be told. Without `ca` it is for http://
 * alone. Rejects with `tls_untrusted` where the server's certificate is none of theirs; it then was sent nothing.
 */
export function createConnection(ca: string | undefined): Connection {
  const agent = ca === undefined ? new HttpAgent({ keepAlive: true }) : new HttpsAgent({ ca, keepAlive: true })
  const request = ca === undefined ? httpRequest : httpsRequest

  function ask(url: URL, headers: Record<string, string>, signal: AbortSignal | undefined): Promise<Response> {
    return new Promise((resolve, reject) => {
      const asked = request(url, { agent, headers, ...(signal && { signal }) })
      let isAnswered = false
      asked.on('socket', (socket) => socket.setKeepAlive(true, TCP_KEEPALIVE_MS))
      asked.on('response', (answer) => {
        isAnswered = true
        try {
          resolve(responseOf(answer))
        } catch (cause) {
          // Thrown in here, it would end the process.
          answer.destroy()
          reject(new RollcallError('bad_answer', oddAnswer(url, answer), { cause }))
        }
      })
      asked.on('error', (cause: NodeJS.ErrnoException) => {
        // The server closed a connection that was kept just as it was used again: that says nothing about the server. What comes
        // after the head is an error of the body, and told there.
        const isStale = asked.reusedSocket && cause.code === 'ECONNRESET' && !isAnswered && !signal?.aborted
        if (isStale) return resolve(ask(url, headers, signal))
        reject(UNTRUSTED.test(cause.code ?? '') ? untrusted(url, cause) : cause)
      })
      asked.end()
    })
  }

  return {
    fetch: (input, { headers, signal } = {}) =>
      ask(
        new URL(input instanceof Request ? input.url : input),
        Object.fromEntries(new Headers(headers)),
        signal ?? undefined,
      ),
    close: () => agent.destroy(),
  }
}

/** Throws for a status or a header that HTTP has not. */
function responseOf(answer: IncomingMessage): Response {
  const { statusCode: status = 500 } = answer
  const headers = Object.entries(answer.headersDistinct).map(([name, values = []]): [string, string] => [
    name,
    values.join(', '),
  ])
  if (!EMPTY.has(status)) return new Response(Readable.toWeb(answer) as ReadableStream<Uint8Array>, { status, headers })
  answer.resume()
  return new Response(null, { status, headers })
}

function oddAnswer({ host }: URL, { statusCode }: IncomingMessage): string {
  return `[kubernetes] expected an answer of HTTP from ${host}, got the status ${statusCode}: is it a Kubernetes API server?`
}

function untrusted({ host }: URL, cause: NodeJS.ErrnoException): RollcallError {
  const advice = 'set caFile to the certificates that the server has its own from'
  const message = `[kubernetes] expected ${host} to have a certificate of the CA file, got ${cause.code}: ${advice}`
  return new RollcallError('tls_untrusted', message, { cause })
}
