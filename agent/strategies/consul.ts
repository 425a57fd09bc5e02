import { describeError, RollcallError } from '../../core/error.ts'
import type { Observation } from '../../core/member.ts'
import {
  type ConsulOptions,
  consulOptionsSchema,
  type HealthQuestion,
  healthPath,
  readHealth,
  readIndex,
} from '../../core/sources/consul.ts'
import { type Finding, outcomeOf, together } from '../../core/sources/outcome.ts'
import { basenameFor } from '../../functions/resolvers/basename.ts'
import { type HttpAnswer, jsonOf, refusal, send } from '../../functions/http.ts'
import type { Source, SourceContext } from '../../functions/resolvers/source.ts'
import { type Clock, jitter, systemClock } from '../clock.ts'
import { createLimit, failureWaitMs } from './pace.ts'

// 10,000 instances with their checks are some 15 MB.
const MAX_BYTES = 32 * 1024 * 1024
// The default of a topology, where no agent says how often it would ask.
const INTERVAL_MS = 5_000
// 0 is 5 minutes to Consul.
const MIN_WAIT_MS = 100
// Consul waits at most 10 minutes, and fetch 5 for the head of an answer.
const MAX_WAIT_MS = 240_000
// Consul lets a wait take up to a 16th longer, so that not all clients come back at once.
const SPREAD = 17 / 16

const ADVICE: Readonly<Record<number, string>> = {
  403: 'check token, and that it may read the service and its nodes (service:read, node:read)',
  429: 'it limits how often it is asked: raise interval',
  500: 'the text is its own: has the cluster a leader, and does the datacenter exist?',
}

interface Answer extends Finding {
  /** How long it took. */
  readonly tookMs: number
  /** Absent where the endpoint does not wait for changes. */
  readonly index: number | undefined
}

type Part = Finding | RollcallError

/**
 * The instances of a service in Consul, by its health endpoint. `watch` waits for changes with a blocking query in each datacenter,
 * and gives the set again at least every interval; `look` asks once. A datacenter that fails makes the rest `partial`; all of them,
 * and it is `failed`, with `http_<status>`, `unreachable`, `timeout`, `bad_answer` or `acl_filtered`.
 */
export function createConsulSource(clock: Clock = systemClock): Source<ConsulOptions> {
  return {
    options: consulOptionsSchema,
    async look(options, context) {
      const at = context.now()
      const asked = datacentersOf(options).map((datacenter) =>
        attempt(ask({ datacenter }, { options, context, clock })),
      )
      return { source: context.source, at, ...outcomeOf(together(await Promise.all(asked))) }
    },
    watch: (options, context) => follow({ options, context, clock }),
  }
}

interface Asking {
  options: ConsulOptions
  context: SourceContext
  clock: Clock
}

async function* follow({ options, context, clock }: Asking): AsyncGenerator<Observation> {
  const done = new AbortController()
  const signal = AbortSignal.any([context.signal, done.signal])
  const datacenters = datacentersOf(options)
  const latest = new Map<string | undefined, Part>()
  let [isNews, at] = [false, 0]
  let wake = () => {}
  signal.addEventListener('abort', () => wake(), { once: true })

  const streams = datacenters.map(async (datacenter) => {
    try {
      for await (const part of answersOf(datacenter, { options, clock, context: { ...context, signal } })) {
        latest.set(datacenter, part)
        isNews = true
        wake()
      }
    } catch (error) {
      // A fault of ours, for what goes wrong over there is an answer: it must not end unseen.
      if (!signal.aborted) done.abort(error)
    }
  })

  try {
    while (!signal.aborted) {
      // Before each has said something nobody can tell whether this is all.
      if (isNews && latest.size === datacenters.length) {
        isNews = false
        // The others wait for changes, so what they said last holds now. Two answers within a millisecond are both news.
        at = Math.max(context.now(), at + 1)
        yield { source: context.source, at, ...outcomeNow([...latest.values()]) }
      } else {
        await new Promise<void>((resolve) => (wake = resolve))
      }
    }
    if (done.signal.aborted) throw done.signal.reason
  } finally {
    done.abort()
    await Promise.all(streams)
  }
}

/** What one datacenter says, each time that it says something, by the rules of Consul's page on blocking queries. */
async function* answersOf(datacenter: string | undefined, asking: Asking): AsyncGenerator<Part> {
  const { clock, context } = asking
  const { signal, intervalMs = INTERVAL_MS } = context
  const limit = createLimit(intervalMs, clock)
  let index: number | undefined
  let failures = 0
  while (!signal.aborted) {
    const waitMs = Math.max(MIN_WAIT_MS, Math.min(Math.floor(jitter(intervalMs, clock) / SPREAD), MAX_WAIT_MS))
    const since = index === undefined ? undefined : { index, waitMs }
    const answer = await attempt(ask({ datacenter, since }, asking))
    if (signal.aborted) return
    yield answer
    if (answer instanceof RollcallError) {
      // The servers that come back may be others, with other indexes.
      index = undefined
      await clock.sleep(failureWaitMs(answer, { failures: failures++, intervalMs, clock }), signal)
      continue
    }
    failures = 0
    const wentBack = since !== undefined && answer.index !== undefined && answer.index < since.index
    index = wentBack ? undefined : answer.index
    if (answer.index === undefined) await clock.sleep(jitter(intervalMs, clock), signal)
    else if (since !== undefined && answer.tookMs < waitMs) await limit(signal)
  }
}

async function ask({ datacenter, since }: HealthQuestion, { options, context, clock }: Asking): Promise<Answer> {
  const basename = basenameFor(options.basename, context, 'consul')
  const { url, token, timeout } = options
  const answer = await send(
    {
      part: 'consul',
      target: `${url}${healthPath(options, { datacenter, since })}`,
      // Without the index, which changes: the same failure is to have the same message.
      shown: `${url}${healthPath(options, { datacenter })}`,
      ...(token !== undefined && { headers: { 'X-Consul-Token': token } }),
      timeoutMs: timeout + Math.ceil((since?.waitMs ?? 0) * SPREAD),
      maxBytes: MAX_BYTES,
      clock,
    },
    context,
  )
  if (answer.status !== 200) throw refusal(answer, { advice: ADVICE })
  const { members, flaws } = readHealth(jsonOf(answer), basename)
  const hidden = hiddenBy(answer, { isAnonymous: token === undefined, isEmpty: members.length === 0 })
  if (hidden !== undefined && members.length === 0) throw new RollcallError('acl_filtered', hidden)
  return {
    members,
    flaws: hidden === undefined ? flaws : [...flaws, hidden],
    tookMs: answer.receivedAt - answer.sentAt,
    index: readIndex(answer.headers.get('x-consul-index')),
  }
}

/**
 * Why instances may be missing: a token that may not see them gets a list without them, and no error. Who asks without a token is not
 * even told so, but for the policy.
 */
function hiddenBy(
  { target, headers }: HttpAnswer,
  { isAnonymous, isEmpty }: { isAnonymous: boolean; isEmpty: boolean },
): string | undefined {
  const isFiltered = headers.get('x-consul-results-filtered-by-acls') === 'true'
  const isDenied = isAnonymous && isEmpty && headers.get('x-consul-default-acl-policy') === 'deny'
  if (!isFiltered && !isDenied) return undefined
  return `[consul] expected all instances from ${target}, got a list that ACLs have filtered: ${ADVICE[403]}`
}

/** The agent's own datacenter is the one without a name. */
function datacentersOf({ datacenters }: ConsulOptions): (string | undefined)[] {
  return datacenters === undefined ? [undefined] : [...new Set(datacenters)]
}

async function attempt<T>(work: Promise<T>): Promise<T | RollcallError> {
  try {
    return await work
  } catch (error) {
    if (error instanceof RollcallError) return error
    throw error
  }
}

function outcomeNow(parts: readonly Part[]) {
  try {
    return outcomeOf(together(parts))
  } catch (error) {
    return { outcome: 'failed' as const, error: describeError(error) }
  }
}
