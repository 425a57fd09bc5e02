import type { RequestListener } from 'node:http'

/** A container as Rancher's metadata service knows it; what else it tells of one is no matter here. */
export interface Container {
  readonly name: string
  readonly uuid?: string
  readonly state?: string
  readonly health_state?: string
  readonly ips?: readonly string[] | null
}

/** A service; its containers are `null` where it has none. */
export interface Service {
  readonly name: string
  readonly containers: readonly Container[] | null
}

/** What the metadata service of one environment knows, and which service the one that asks is part of. */
export interface Environment {
  readonly stacks: readonly { readonly name: string; readonly services: readonly Service[] }[]
  readonly self?: { readonly stack: string; readonly service: string }
}

/**
 * Answers as Rancher 1.6's metadata service does: a path walks through the data, by key, by index or by name, whatever the case of its
 * letters; JSON only for who accepts that, else a listing; a 404 with a JSON body for what is not there, `self` of a container that
 * it does not know yet included. https://rancher.com/docs/rancher/v1.6/en/rancher-services/metadata-service/
 */
export function metadataService({ stacks, self }: Environment): RequestListener {
  const stack = stacks.find(({ name }) => name === self?.stack)
  const service = stack?.services.find(({ name }) => name === self?.service)
  const latest = { stacks, services: stacks.flatMap(({ services }) => services), self: { stack, service } }
  return (request, response) => {
    const [version, ...path] = (request.url ?? '').split('/').slice(1)
    const keys = path.map((key) => decodeURIComponent(key.replaceAll('+', ' ')).toLowerCase())
    const found = version === 'latest' ? keys.reduce(step, latest) : undefined
    const isJson = request.headers.accept === 'application/json'
    // The content type of a Go server that is not told: what it answers looks like text.
    response.setHeader('Content-Type', 'text/plain; charset=utf-8')
    if (found !== undefined) {
      response.end(isJson ? JSON.stringify(found) : Object.keys(found as object).join('\n'))
      return
    }
    const message = version === 'latest' ? 'Not found' : 'Invalid version'
    response.writeHead(404).end(isJson ? `${JSON.stringify({ code: 404, message, type: 'error' })}\n` : `${message}\n`)
  }
}

function step(value: unknown, key: string): unknown {
  if (!Array.isArray(value)) return (value as Record<string, unknown> | null | undefined)?.[key]
  if (/^\d+$/.test(key)) return value[Number(key)]
  return value.find(({ name }: { name?: string }) => name?.toLowerCase() === key)
}
