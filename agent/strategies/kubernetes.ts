import { describeError, RollcallError } from '../../core/error.ts'
import type { Observation } from '../../core/member.ts'
import { hostOf } from '../../core/node.ts'
import { type KubernetesOptions, kubernetesOptionsSchema } from '../../core/sources/kubernetes.ts'
import { familyOf, type Naming } from '../../core/sources/kubernetes-members.ts'
import { basenameFor } from '../../functions/resolvers/basename.ts'
import type { Source, SourceContext } from '../../functions/resolvers/source.ts'
import { backoffMs, type Clock, jitter, systemClock } from '../clock.ts'
import { createApi } from '../kubernetes/api.ts'
import { createOutbox, type Outbox } from '../kubernetes/outbox.ts'
import { type Desk, list, watchOnce } from '../kubernetes/sync.ts'
import { findNamespace, podSurroundings, type Surroundings } from '../kubernetes/surroundings.ts'

/** What the source uses of the world beside its context, each with a real default. */
export interface KubernetesSeams {
  readonly clock?: Clock
  readonly surroundings?: Surroundings
}

// Between the starts of two watches, however short the first was.
const PACE_MS = 1_000
const BASE_MS = 1_000
const MAX_MS = 30_000

/**
 * The nodes that EndpointSlices, Endpoints or Pods of one namespace stand for. `look` lists them; `watch` lists them, and is told
 * what changes from then on. Each watch lasts one interval, and the next one goes on where it ended: so a dead connection is noticed,
 * and the set is known to be true that often. Without `watch` the API server's cache is asked, which may be a little behind.
 * It makes connections of its own, for the `fetch` of its context cannot be told whom to believe. Every failure is `failed`, with a code that tells what to do: `http_<status>`, `unreachable`, `timeout`, `bad_answer`,
 * `tls_untrusted`, `ca_unreadable`, `token_unreadable`, `not_in_cluster`, `namespace_unknown`, `too_many`, `watch_cut`, `watch_ended`.
 * https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
 */
export function createKubernetesSource(seams: KubernetesSeams = {}): Source<KubernetesOptions> {
  const { clock = systemClock, surroundings = podSurroundings } = seams

  async function open(options: KubernetesOptions, context: SourceContext): Promise<Desk> {
    const basename = basenameFor(options.basename, context, 'kubernetes')
    const namespace = await findNamespace(options, surroundings)
    const family = context.self === undefined ? undefined : familyOf(hostOf(context.self))
    const naming = { options, basename, namespace, family }
    return { api: createApi({ options, namespace, context, surroundings, clock }), naming, context, clock }
  }

  return {
    options: kubernetesOptionsSchema,

    async look(options, context) {
      const at = context.now()
      const desk = await open(options, context)
      try {
        const { roster } = await list(desk, context.signal)
        return { source: context.source, at, ...roster.read() }
      } finally {
        desk.api.close()
      }
    },

    async *watch(options, context) {
      const ended = new AbortController()
      const signal = AbortSignal.any([context.signal, ended.signal])
      const outbox = createOutbox<Observation>(signal)
      const following = followFrom(() => open(options, { ...context, signal }), { outbox, context, signal, clock })
      // What it throws is a mistake in here, and nobody would be told any more.
      following.catch(() => ended.abort())
      try {
        yield* outbox.read()
      } finally {
        ended.abort()
        await following
      }
    },
  }
}

interface Following {
  readonly outbox: Outbox<Observation>
  readonly context: SourceContext
  readonly signal: AbortSignal
  readonly clock: Clock
}

/** Lists and watches until the signal. What fails is told, and begun anew after a wait that grows. */
async function followFrom(open: () => Promise<Desk>, { outbox, context, signal, clock }: Following): Promise<void> {
  const { source, now, log } = context
  let at = -Infinity
  // What is said within one ms is news all the same.
  const stamp = () => (at = Math.max(at + 1, now()))
  let desk: Desk | undefined
  let failures = 0
  while (!signal.aborted) {
    const startedAt = now()
    let retryAfterMs = 0
    try {
      desk ??= await open()
      const why = await listAndWatch(desk, { outbox, stamp, signal })
      log.info({ source }, why)
    } catch (thrown) {
      if (signal.aborted) break
      if (!(thrown instanceof RollcallError)) throw thrown
      const error = describeError(thrown)
      retryAfterMs = Math.min(error.retryAfterMs ?? 0, MAX_MS)
      outbox.fail({ source, at: stamp(), outcome: 'failed', error })
    }
    // One that lists and then fails, each time, is no better than one that does not list.
    failures = now() - startedAt > MAX_MS ? 0 : failures + 1
    const waitMs = Math.max(backoffMs(failures, { baseMs: BASE_MS, maxMs: MAX_MS, clock }), retryAfterMs)
    await clock.sleep(waitMs, signal)
  }
  desk?.api.close()
}

/** Lists, and watches from there. Gives why it must be listed again; throws where something failed. */
async function listAndWatch(
  desk: Desk,
  { outbox, stamp, signal }: Pick<Following, 'outbox' | 'signal'> & { stamp: () => number },
): Promise<string> {
  const { context, clock, naming } = desk
  const { source, now, log } = context
  const askedAt = stamp()
  const { roster, resourceVersion } = await list(desk, signal)
  const tell = (at: number) => outbox.answer(() => ({ source, at, ...roster.read() }))
  tell(askedAt)
  if (roster.read().members.length === 0) log.warn({ source }, emptyMessage(naming))

  const watching = { cursor: { resourceVersion, lines: 0 }, roster, prove: () => tell(stamp()), signal }
  for (;;) {
    const openedAt = now()
    const why = await watchOnce(desk, watching)
    if (why !== undefined) return why
    await clock.sleep(jitter(PACE_MS, clock) - (now() - openedAt), signal)
    signal.throwIfAborted()
  }
}

function emptyMessage({ options, namespace }: Naming): string {
  const { resource, service, selector } = options
  const what = [service !== undefined && `service ${service}`, selector !== undefined && `selector ${selector}`]
  return `[kubernetes] expected ${resource} of ${what.filter(Boolean).join(' and ')} in namespace ${namespace}, got none: check them`
}
