import assert from 'node:assert/strict'
import { test } from 'node:test'
import { resolvers } from '../../functions/resolvers/index.ts'
import { observe, type SourceContext } from '../../functions/resolvers/source.ts'
import { staticSource } from '../../functions/resolvers/static.ts'
import { sourceContract } from '../contract/source-contract.ts'

const quiet = { debug() {}, info() {}, warn() {}, error() {} }
const context: SourceContext = {
  source: 'fixed',
  signal: new AbortController().signal,
  now: () => 1_000,
  log: quiet,
  fetch,
}

async function look(options: unknown) {
  const source = await resolvers.static?.()
  assert.ok(source)
  return observe(source, source.options.parse(options), context)
}

test('a static list is complete, names and members side by side', async () => {
  const leaving = { node: 'b@10.0.0.2', status: 'leaving', id: 'x1' }
  assert.deepEqual(await look({ nodes: ['a@10.0.0.1', leaving] }), {
    source: 'fixed',
    at: 1_000,
    outcome: 'complete',
    members: [{ node: 'a@10.0.0.1', status: 'up' }, leaving],
  })
})

test('a static list names each node once: the first entry counts', async () => {
  const observation = await look({ nodes: [{ node: 'a@10.0.0.1', status: 'up', id: 'x1' }, 'a@10.0.0.1'] })
  assert.deepEqual(observation.members, [{ node: 'a@10.0.0.1', status: 'up', id: 'x1' }])
})

test('an empty static list says nobody', async () => {
  const observation = await look({ nodes: [] })
  assert.deepEqual([observation.outcome, observation.members], ['complete', []])
})

test('every resolver is loaded under its kind', async () => {
  for (const load of Object.values(resolvers)) assert.equal(typeof (await load()).look, 'function')
  assert.ok(resolvers.dns)
})

const [A, B] = ['app@10.0.0.1', 'app@10.0.0.2'] as const

sourceContract({
  name: 'static',
  kind: 'static',
  load: () => staticSource,
  self: A,
  good: { nodes: [A, { node: B, id: '7', address: { host: '10.0.0.2', port: '4370' } }], name: 'fixed' },
  bad: { nodes: A, name: 5 },
  lists: () => ({ options: { nodes: [A, B, { node: A }] }, nodes: [A, B] }),
  nobody: () => ({ options: { nodes: [] } }),
  // What is wrong in the config is refused at the start.
  flawed: {},
  failing: {},
})
