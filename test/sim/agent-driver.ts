import * as z from 'zod/mini'
import { createAgent } from '../../agent/agent.ts'
import type { Clock } from '../../agent/clock.ts'
import type { Distribution } from '../../agent/distributions/distribution.ts'
import { RollcallError } from '../../core/error.ts'
import type { Observation } from '../../core/member.ts'
import type { NodeName } from '../../core/node.ts'
import type { Log, Source } from '../../functions/resolvers/source.ts'
import type { DialEnd } from './beam.ts'
import type { Surroundings } from './surroundings.ts'

const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} }

/** The real agent with its seams replaced: clock, distribution, sources and the plan. */
export function startAgent(around: Surroundings): void {
  const { self, sources, intervalMs, policy, decide: plan } = around
  const config = {
    node: self,
    topologies: {
      web: { intervalMs, policy, sources: sources.map((id) => ({ id, kind: 'static', options: {} })) },
    },
    agent: { leaveOnExit: false },
    log: { level: 'silent' as const },
  }
  const agent = createAgent(config, {
    log: SILENT,
    clock: clockOf(around),
    distribution: distributionOf(around),
    loadSource: async ({ id }) => sourceOf(id, around),
    plan,
  })
  // With every seam replaced nothing of it can fail; a rejection would end the run, as it should. It is never stopped: when its
  // machine ends, whatever it waits for never comes, and it is collected.
  void agent.start()
}

function clockOf({ now, random, after }: Surroundings): Clock {
  return {
    now,
    random,
    sleep(ms, signal) {
      if (ms <= 0 || signal.aborted) return Promise.resolve()
      const { promise, resolve } = Promise.withResolvers<void>()
      const cancel = ms === Infinity ? () => {} : after(ms, end)
      function end(): void {
        cancel()
        signal.removeEventListener('abort', end)
        resolve()
      }
      signal.addEventListener('abort', end)
      return promise
    },
  }
}

function sourceOf(id: string, around: Surroundings): Source<unknown> {
  return {
    options: z.unknown(),
    look: (_options, { signal }) =>
      new Promise<Observation>((resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason), { once: true })
        around.ask(id, (answer) => {
          try {
            resolve(answer())
          } catch (error) {
            reject(error)
          }
        })
      }),
  }
}

function distributionOf(around: Surroundings): Distribution {
  function done(act: (ended: DialEnd) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      act((error) => {
        if (error === undefined) resolve()
        else reject(new RollcallError(error.code, error.message, { retryAfterMs: error.retryAfterMs }))
      })
    })
  }
  return {
    self: around.self,
    list: async () => around.links(),
    connect: (node) => done((ended) => around.dial(node, ended)),
    disconnect: (node, { reason }) => done((ended) => around.cut(node, reason, ended)),
    leave: async () => around.leave(),
    changes: (signal) => changesOf(around, signal),
    close: async () => {},
  }
}

async function* changesOf(
  { onLinks }: Surroundings,
  signal: AbortSignal,
): AsyncGenerator<{ node: NodeName; up: boolean }> {
  const changes: { node: NodeName; up: boolean }[] = []
  let more = Promise.withResolvers<void>()
  const off = onLinks((node, up) => {
    changes.push({ node, up })
    more.resolve()
  })
  while (!signal.aborted) {
    yield* changes.splice(0)
    await more.promise
    more = Promise.withResolvers()
  }
  off()
}
