import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { dial } from '../../agent/beam/dial.ts'
import { createNode } from '../../agent/beam/node.ts'
import { createEpmdSource, type EpmdSeams } from '../../agent/strategies/epmd.ts'
import type { Observation } from '../../core/member.ts'
import { readHosts } from '../../core/sources/epmd.ts'
import { observe } from '../../functions/resolvers/source.ts'
import { createFakeLog } from '../agent/fakes.ts'
import { parseOptions } from '../contract/source-contract.ts'
import { type Epmd, type Peer, startEpmd, startErl } from './erlang.ts'
import { missingPrograms } from './programs.ts'
import { until } from './until.ts'

const cookie = 'secret'
const host = '127.0.0.2'
const self = `app@${host}`

suite('The epmd source beside a real epmd', { skip: missingPrograms('erl'), timeout: 60_000 }, () => {
  let epmd: Epmd
  let home: string
  let app: Peer
  let other: Peer

  before(async () => {
    // Bound to one address beside 127.0.0.1, so that there are loopback addresses where it does not answer.
    epmd = await startEpmd({ address: host })
    home = await mkdtemp(join(tmpdir(), 'rollcall-home-'))
    const { HOME = '' } = process.env
    process.env.HOME = home
    app = await startErl({ name: self, cookie, epmdPort: epmd.port })
    process.env.HOME = HOME
    other = await startErl({ name: `other@${host}`, cookie, epmdPort: epmd.port, flags: ['-hidden'] })
  })
  after(async () => {
    await app.kill()
    await other.kill()
    await epmd.stop()
    await rm(home, { recursive: true })
  })

  async function look(options: Record<string, unknown>, seams: EpmdSeams = {}): Promise<Observation> {
    const { signal } = new AbortController()
    const context = { source: 'epmd', self, signal, now: Date.now, log: createFakeLog(), fetch }
    const env = { ERL_EPMD_PORT: String(epmd.port) }
    return await observe(createEpmdSource({ env, ...seams }), parseOptions('epmd', options), context)
  }

  const nodesOf = ({ members = [] }: Observation) => members.map(({ node }) => node)
  /** What a list of strings looks like that a node has sorted. */
  const listOf = (text: string) => [...text.matchAll(/"([^"]*)"/g)].map(([, node]) => node)

  test('lists what erl_epmd:names/0 of a node does, under the host of the node, as LocalEpmd', async () => {
    const observation = await look({})
    assert.equal(observation.outcome, 'complete')
    const names = await app.evaluate(
      'begin {ok, Names} = erl_epmd:names(), lists:sort([Name ++ "@127.0.0.2" || {Name, _} <- Names]) end',
    )
    assert.deepEqual(nodesOf(observation), listOf(names))
    assert.deepEqual(nodesOf(observation), [self, `other@${host}`])
  })

  test('lists no connection of an agent', async () => {
    const agent = createNode(`rollcall-app@${host}`)
    const connection = await dial(self, { self: agent, cookie, epmd: { port: epmd.port } })
    const nodes = nodesOf(await look({ hosts: host }))
    connection.close()
    assert.deepEqual(nodes, [self, `other@${host}`])
  })

  test('is partial where one host has no epmd, and failed where none has', async () => {
    const some = await look({ hosts: [host, '127.0.0.9'] })
    assert.equal(some.outcome, 'partial')
    assert.deepEqual(nodesOf(some), [self, `other@${host}`])
    const none = await look({ hosts: ['127.0.0.9'] })
    assert.equal(none.outcome === 'failed' && none.error.code, 'epmd_unreachable')
  })

  test('lists by .hosts.erlang what net_adm finds by it, from the working directory and from home', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'rollcall-hosts-'))
    t.after(() => rm(folder, { recursive: true }))
    await app.evaluate(`ok = file:set_cwd("${folder}")`)
    const seen = `begin Hosts = net_adm:host_file(),
      lists:sort([lists:concat([Name, "@", Host]) || Host <- Hosts, {Name, _} <- element(2, net_adm:names(Host))]) end`
    const env = { ERL_EPMD_PORT: String(epmd.port), HOME: home }
    const ours = async () => nodesOf(await look({ hostsFile: '.hosts.erlang' }, { env, directory: folder }))

    await writeFile(join(home, '.hosts.erlang'), "%% at home\n'127.0.0.1'.\n")
    assert.deepEqual(await ours(), ['app@127.0.0.1', 'other@127.0.0.1'])
    assert.deepEqual(await ours(), listOf(await app.evaluate(seen)))
    await writeFile(join(folder, '.hosts.erlang'), '"127.0.0.1". % two\n\'127.0.0.2\'.')
    assert.equal((await ours()).length, 4)
    assert.deepEqual(await ours(), listOf(await app.evaluate(seen)))
  })

  test('reads of a hosts file what OTP reads, and refuses what OTP refuses', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'rollcall-hosts-'))
    t.after(() => rm(folder, { recursive: true }))
    await app.evaluate(`ok = file:set_cwd("${folder}")`)
    const contents = [
      "'a.b'.\n'c'. \"d\".",
      '',
      '% only a comment',
      "%'a'.\n'b'.%'c'.\n\"fd00::1\".\r\n",
      'box.\nbox_2 % yes.\n  .\n',
      "'a'.'b'.",
      'a.b.\n',
      "'a'",
      "'a\n",
      "'a'.\n\n.\n",
      'Box.\n',
      'a-b.\n',
      '.\n',
    ]
    for (const content of contents) {
      await writeFile(join(folder, '.hosts.erlang'), content)
      const theirs = await app.evaluate(
        'case net_adm:host_file() of {error, _} -> error; Hosts -> [lists:concat([Host]) || Host <- Hosts] end',
      )
      const read = () => readHosts(content, 'file')
      if (theirs === 'error') assert.throws(read, { code: 'hosts_file_malformed' }, JSON.stringify(content))
      else assert.deepEqual(read(), listOf(theirs), JSON.stringify(content))
    }
  })

  test('lists a node no more once it has ended', async () => {
    await other.kill()
    await until('epmd to have noticed', async () => nodesOf(await look({ hosts: host })).length === 1)
    const observation = await look({ hosts: host })
    assert.equal(observation.outcome, 'complete')
    assert.deepEqual(nodesOf(observation), [self])
  })
})
