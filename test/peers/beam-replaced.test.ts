import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createAgent } from '../../agent/agent.ts'
import { parseConfig } from '../../core/config.ts'
import { complete, createFakeLog, looking } from '../agent/fakes.ts'
import { startEpmd, startErl } from './erlang.ts'
import { missingPrograms } from './programs.ts'

// A mesh of its own on a BEAM node, as Partisan is one: it links by its own means, and no node of the distribution is dialled.
const MODULE = [
  '-module(test_mesh).',
  '-export([join/2, part/2, members/1, calls/0]).',
  'join(Mesh, Node) -> note({join, Mesh, Node}), persistent_term:put({member, Node}, true), true.',
  'part(Mesh, Node) -> note({part, Mesh, Node}), persistent_term:erase({member, Node}).',
  'members(web) -> [Node || {{member, Node}, true} <- persistent_term:get()].',
  // Calls come side by side, so each has a place of its own.
  'note(Call) -> persistent_term:put({call, erlang:unique_integer([monotonic])}, Call).',
  'calls() -> [Call || {_, Call} <- lists:sort([{Place, Call} || {{call, Place}, Call} <- persistent_term:get()])].',
]
const LOAD = `
  Parse = fun(Text) -> {ok, Tokens, _} = erl_scan:string(Text), {ok, Form} = erl_parse:parse_form(Tokens), Form end,
  {ok, Module, Binary} = compile:forms([Parse(Text) || Text <- [${MODULE.map((form) => JSON.stringify(form)).join(', ')}]]),
  {module, test_mesh} = code:load_binary(Module, "test_mesh.erl", Binary), ok`

test('an agent steers a mesh of other modules, by the functions that its config names', {
  skip: missingPrograms('erl'),
  timeout: 60_000,
}, async (t) => {
  const epmd = await startEpmd()
  t.after(() => epmd.stop())
  const peer = await startErl({ name: 'app@127.0.0.2', cookie: 'secret', epmdPort: epmd.port })
  t.after(() => peer.kill())
  assert.equal(await peer.evaluate(LOAD), 'ok')

  const [B, C] = ['app@127.0.0.3', 'app@127.0.0.4'] as const
  let nodes: string[] = [peer.node, B, C]
  const source = looking(async (_options, { source, now }) => complete(source, now(), nodes))
  const beam = {
    cookie: 'secret',
    epmd: { port: epmd.port },
    connect: ['test_mesh', 'join', 'web'],
    disconnect: ['test_mesh', 'part', 'web'],
    list: ['test_mesh', 'members', 'web'],
  }
  const web = { interval: 20, sources: [{ static: { nodes: [] } }], policy: { grace: 20, misses: 1 } }
  const raw = { node: peer.node, distribution: { beam }, topologies: { web } }
  const config = parseConfig(raw, { file: 'rollcall.yaml', env: {} })
  const agent = createAgent(config, { log: createFakeLog(), loadSource: async () => source })
  t.after(() => agent.stop())
  const events = agent.events()
  async function told(type: string, node: string): Promise<void> {
    for await (const event of { [Symbol.asyncIterator]: () => ({ next: () => events.next() }) }) {
      if (event.type === type && event.node === node) return
    }
  }

  await agent.start()
  const { connected, errors } = await agent.discover()
  assert.deepEqual([connected.toSorted(), errors], [[B, C], []])
  const joined = await peer.evaluate('lists:sort(test_mesh:calls())')
  assert.equal(joined, `[{join,web,'${B}'},{join,web,'${C}'}]`)

  // What the module tells is what is linked: a member that it lost is joined again.
  await peer.evaluate(`test_mesh:part(other, '${B}')`)
  await told('nodedown', B)
  await told('nodeup', B)
  nodes = [peer.node, B]
  await told('nodedown', C)
  assert.equal(await peer.evaluate('test_mesh:members(web)'), `['${B}']`)
  assert.match(await peer.evaluate('lists:last(test_mesh:calls())'), new RegExp(`^{part,web,'${C}'}$`))
  assert.equal(await peer.evaluate('nodes()'), '[]')
})
