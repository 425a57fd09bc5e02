import { type RancherOptions, rancherOptionsSchema, readService, servicePath } from '../../core/sources/rancher.ts'
import { outcomeOf } from '../../core/sources/outcome.ts'
import { basenameFor } from '../../functions/resolvers/basename.ts'
import { jsonOf, refusal, send } from '../../functions/http.ts'
import type { Source } from '../../functions/resolvers/source.ts'

// 10,000 containers with labels and ports are some 15 MB.
const MAX_BYTES = 32 * 1024 * 1024

const ADVICE: Readonly<Record<number, string>> = {
  404: 'check stack and service; a container that has just begun is unknown there for a moment, one outside of a service for ever',
}

/**
 * The nodes in the containers of a Rancher 1.x service, by its metadata service. Throws `http_<status>`, `unreachable`, `timeout`,
 * `bad_answer` and `no_service`.
 */
export const rancherSource: Source<RancherOptions> = {
  options: rancherOptionsSchema,
  async look(options, context) {
    const basename = basenameFor(options.basename, context, 'rancher')
    const target = `${options.url}${servicePath(options)}`
    const request = { part: 'rancher', target, timeoutMs: options.timeout, maxBytes: MAX_BYTES }
    const answer = await send(request, context)
    if (answer.status !== 200) throw refusal(answer, { advice: ADVICE })
    const found = readService(jsonOf(answer), basename)
    return { source: context.source, at: answer.sentAt, ...outcomeOf(found) }
  },
}
