import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, it } from 'node:test'
import * as z from 'zod/mini'
import { openSource } from '../../../agent/strategies/index.ts'
import { type Observation, up } from '../../../core/member.ts'
import type { Source } from '../../../functions/resolvers/source.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }

/** Hears of these nodes, one after the other, and then of nobody until it is told to end. */
function ear(...nodes: string[]): Source<unknown> {
  return {
    options: z.unknown(),
    async *watch(_options, { source, now, signal }) {
      const heard: string[] = []
      for (const node of nodes) {
        heard.push(node)
        yield { source, at: now(), outcome: 'partial', reason: 'only heard', members: heard.map(up) }
      }
      if (!signal.aborted) await once(signal, 'abort')
    },
  }
}

async function look(source: Source<unknown>, listenMs?: number): Promise<Observation> {
  const config = { id: 'ear', kind: 'static', options: {} } as const
  const load = () => Promise.resolve(source)
  const opened = await openSource(config, { topology: 'web', intervalMs: 0, log, load, listenMs })
  return await opened.look(new AbortController().signal)
}

describe('a look at a source that can only be listened to', () => {
  it('gives what it heard last in the time it is given', async () => {
    const { members } = await look(ear('a@h', 'b@h'), 20)
    assert.deepEqual(
      members?.map(({ node }) => node),
      ['a@h', 'b@h'],
    )
  })

  it('gives the first that it hears when it has no time', async () => {
    const { members } = await look(ear('a@h', 'b@h'))
    assert.deepEqual(
      members?.map(({ node }) => node),
      ['a@h'],
    )
  })

  it('fails when it hears nothing, for silence is no answer', async () => {
    const observation = await look(ear(), 20)
    assert.equal(observation.outcome, 'failed')
    assert.equal(observation.outcome === 'failed' && observation.error.code, 'nothing_heard')
  })
})
