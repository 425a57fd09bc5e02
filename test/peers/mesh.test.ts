import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Plan } from '../../core/plan.ts'
import { freePort, type Peer, startElixir, startErl } from './erlang.ts'
import { type Named, startNamed } from './named.ts'
import { missingPrograms } from './programs.ts'
import { until } from './until.ts'

// Real nodes, real DNS, real agents as processes of their own. All nodes have the basename `app`, as nodes that are found by DNS
// have, and one epmd knows a name once: so they run without epmd, each on the same port of an address of its own.
const skip = missingPrograms('erl', 'elixir', 'named', 'nsupdate')

const COOKIE = 'mesh'
const CLI = new URL('../../agent/cli.ts', import.meta.url).pathname
const nodeAt = (last: number) => `app@127.0.0.${last}`
const record = (last: number) => `app.mesh.test. 0 A 127.0.0.${last}`

interface Agent {
  readonly process: ChildProcess
  plan(): Promise<Omit<Plan, 'state'>>
  /** Ends it as an operator does, and gives its exit code. */
  terminate(): Promise<number | null>
  log(): string
}

describe('a mesh of real nodes over real DNS', { skip, timeout: 900_000 }, () => {
  let named: Named
  let folder: string
  let port: number
  const peers = new Map<number, Peer>()
  const agents = new Map<number, Agent>()

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'rollcall-mesh-'))
    port = await freePort()
    named = await startNamed({ zones: { 'mesh.test': [11, 12, 13].map((last) => `app 0 A 127.0.0.${last}`) } })
    for (const last of [11, 12, 13]) await addNode(last)
  })

  after(async () => {
    for (const agent of agents.values()) await agent.terminate()
    for (const peer of peers.values()) await peer.kill()
    await named?.stop()
    await rm(folder, { recursive: true, force: true })
  })

  async function addNode(last: number, start = startErl): Promise<void> {
    await startNode(last, start)
    agents.set(last, await startAgent(last))
  }

  async function startNode(last: number, start = startErl): Promise<Peer> {
    const flags = ['-erl_epmd_port', String(port)]
    const peer = await start({ name: nodeAt(last), cookie: COOKIE, epmdPort: await freePort(), flags })
    peers.set(last, peer)
    await peer.evaluate(start === startErl ? COUNT_NODEDOWN : COUNT_NODEDOWN_IN_ELIXIR)
    return peer
  }

  async function startAgent(last: number, source?: string): Promise<Agent> {
    const listen = `127.0.0.1:${await freePort()}`
    const dns = `dns: { query: app.mesh.test., types: [A], server: "${named.server}", timeout: 2s }`
    const file = join(folder, `${last}.yaml`)
    await writeFile(
      file,
      `node: ${nodeAt(last)}
distribution: { beam: { mode: sidecar, cookie: ${COOKIE}, port: ${port} } }
topologies:
  web:
    interval: 1s
    sources: [ ${source ?? dns} ]
    policy: { grace: 5s, confirm: 20s, budget: 1 } # the guard would make the repeated removals below wait for confirm
agent: { listen: "${listen}" }
`,
    )
    const child = spawn(process.execPath, [CLI, 'agent', '--config', file], { stdio: ['ignore', 'ignore', 'pipe'] })
    let log = ''
    child.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()))
    async function plan() {
      const answer = await fetch(`http://${listen}/v1/plan`)
      assert.equal(answer.status, 200, await answer.clone().text())
      return (await answer.json()) as Plan
    }
    await until(`agent ${last} is formed`, () => fetch(`http://${listen}/readyz`).then(({ ok }) => ok), {
      hint: () => log,
    })
    return { process: child, plan, terminate: () => end(child), log: () => log }
  }

  async function replaceAgent(last: number, source?: string): Promise<void> {
    await agents.get(last)?.terminate()
    agents.set(last, await startAgent(last, source))
  }

  async function linksOf(last: number): Promise<string[]> {
    const peer = peers.get(last)
    if (peer === undefined) throw new Error(`no node ${last}`)
    const text = await peer.evaluate(last === 15 ? 'Enum.sort(Node.list())' : 'lists:sort(nodes())')
    return [...text.matchAll(/app@127\.0\.0\.\d+/g)].map(([node]) => node)
  }

  async function isMesh(...lasts: number[]): Promise<boolean> {
    for (const last of lasts) {
      const others = lasts.filter((other) => other !== last).map(nodeAt)
      if ((await linksOf(last)).join() !== others.join()) return false
    }
    return true
  }

  function meshOf(...lasts: number[]): Promise<void> {
    return until(`a mesh of ${lasts.join()}`, () => isMesh(...lasts), {
      hint: () => [...agents.values()].map((agent) => agent.log()).join('\n'),
    })
  }

  /** How many links were lost so far, over all the given nodes. */
  async function lossesOf(...lasts: number[]): Promise<string> {
    const counts = lasts.map(async (last) => {
      const ask =
        last === 15
          ? ':persistent_term.get(:losses) |> :counters.get(1)'
          : 'counters:get(persistent_term:get(losses), 1)'
      return `${last}: ${await peers.get(last)?.evaluate(ask)}`
    })
    return (await Promise.all(counts)).join(', ')
  }

  /** Waits until the sources have been asked for `ms` on end with this outcome, at every agent. */
  async function observe(outcome: 'failed' | 'doubted', ms: number): Promise<void> {
    await Promise.all(
      [...agents.values()].map((agent) => {
        let since: number | undefined
        return until(`${ms} ms of ${outcome}`, async () => {
          const source = (await agent.plan()).topologies.web?.sources.dns
          const so = outcome === 'doubted' ? source?.doubted === true : source?.outcome === 'failed'
          if (!so || source?.at === undefined) since = undefined
          else since ??= source.at
          return since !== undefined && (source?.at ?? 0) - since >= ms
        })
      }),
    )
  }

  test('the mesh forms', async () => {
    await meshOf(11, 12, 13)
  })

  test('a record that is added is joined', async () => {
    await named.update(`update add ${record(14)}`)
    await addNode(14)
    await meshOf(11, 12, 13, 14)
  })

  test('SERVFAIL cuts nobody', async () => {
    const lost = await lossesOf(11, 12, 13, 14)
    await named.breakZone('mesh.test')
    await observe('failed', 8_000)
    assert.ok(await isMesh(11, 12, 13, 14))
    await named.mendZone('mesh.test')
    await recovered()
    assert.equal(await lossesOf(11, 12, 13, 14), lost)
  })

  test('an empty zone cuts nobody, also beyond grace and confirm', async () => {
    const lost = await lossesOf(11, 12, 13, 14)
    await named.update('update delete app.mesh.test. A')
    await observe('doubted', 28_000)
    assert.ok(await isMesh(11, 12, 13, 14))
    await named.update(...[11, 12, 13, 14].map((last) => `update add ${record(last)}`))
    await recovered()
    assert.equal(await lossesOf(11, 12, 13, 14), lost)
  })

  test('a named that does not answer cuts nobody', async () => {
    const lost = await lossesOf(11, 12, 13, 14)
    await named.pause()
    await observe('failed', 8_000)
    named.resume()
    await recovered()
    assert.ok(await isMesh(11, 12, 13, 14))
    assert.equal(await lossesOf(11, 12, 13, 14), lost)
  })

  /** Every agent has an answer again that it believes. */
  async function recovered(): Promise<void> {
    for (const agent of agents.values()) {
      await until('a believed answer', async () => {
        const source = (await agent.plan()).topologies.web?.sources.dns
        return source?.outcome === 'complete' && source.doubted === undefined
      })
    }
  }

  /** Every agent has asked DNS after now, and planned with what it said. */
  async function heard(): Promise<void> {
    const from = Date.now()
    for (const agent of agents.values()) {
      await until('an answer', async () => ((await agent.plan()).topologies.web?.sources.dns?.at ?? 0) > from)
    }
  }

  /** Takes the record away; resolves when the node is out, and each of the others has lost that one link and no other. */
  async function remove(last: number, ...others: number[]): Promise<void> {
    const expected = oneMore(await lossesOf(...others))
    await named.update(`update delete ${record(last).replace(' 0', '')}`)
    await until(`${last} is out`, async () => (await linksOf(last)).length === 0 && (await isMesh(...others)))
    await until('the loss is counted', async () => (await lossesOf(...others)) === expected)
  }

  async function removeAndRestore(last: number, ...others: number[]): Promise<void> {
    await remove(last, ...others)
    const losses = await lossesOf(...others)
    await named.update(`update add ${record(last)}`)
    await heard()
    await meshOf(...others, last)
    assert.equal(await lossesOf(...others), losses, 'the others kept all their links')
  }

  test('a removed record takes out exactly that node, and the others stay linked, 10 times of 10', async () => {
    for (let time = 1; time <= 10; time++) await removeAndRestore(14, 11, 12, 13)
  })

  test('the same when the removed node has no agent, 10 times of 10', async () => {
    // A node of its own each time: one that is taken out twice within a minute is left alone for another, as somebody disagrees.
    for (let last = 21; last <= 30; last++) {
      const peer = await startNode(last)
      await named.update(`update add ${record(last)}`)
      await meshOf(11, 12, 13, 14, last)
      await remove(last, 11, 12, 13, 14)
      await peer.kill()
      peers.delete(last)
    }
    await heard()
    await meshOf(11, 12, 13, 14)
  })

  test('a node whose own agent disagrees is left alone, and the plan says disputed', async () => {
    const everybody = [11, 12, 13, 14].map(nodeAt).join(', ')
    await replaceAgent(14, `static: { nodes: [${everybody}] }`)
    const lost = await lossesOf(11, 12, 13, 14)
    await named.update(`update delete ${record(14).replace(' 0', '')}`)
    for (const last of [11, 12, 13]) {
      await until('disputed', async () => {
        const held = (await agents.get(last)?.plan())?.hold.find(({ node }) => node === nodeAt(14))
        return held?.reason === 'disputed'
      })
    }
    assert.ok(await isMesh(11, 12, 13, 14))
    assert.equal(await lossesOf(11, 12, 13, 14), lost)
    await named.update(`update add ${record(14)}`)
    await replaceAgent(14)
    await meshOf(11, 12, 13, 14)
  })

  test('SIGTERM to a sidecar leaves the mesh as it was', async () => {
    const lost = await lossesOf(11, 12, 13, 14)
    assert.equal(await agents.get(12)?.terminate(), 0)
    assert.ok(await isMesh(11, 12, 13, 14))
    agents.set(12, await startAgent(12))
    assert.ok(await isMesh(11, 12, 13, 14))
    assert.equal(await lossesOf(11, 12, 13, 14), lost)
  })

  test('an Elixir node works the same', async () => {
    await named.update(`update add ${record(15)}`)
    await addNode(15, startElixir)
    await meshOf(11, 12, 13, 14, 15)
    await removeAndRestore(15, 11, 12, 13, 14)
  })

  test('a named that was killed cuts nobody', async () => {
    const lost = await lossesOf(11, 12, 13, 14, 15)
    await named.stop()
    await observe('failed', 8_000)
    assert.ok(await isMesh(11, 12, 13, 14, 15))
    assert.equal(await lossesOf(11, 12, 13, 14, 15), lost)
  })

  test('rollcall leave takes its node out and the others stay whole', async () => {
    const expected = oneMore(await lossesOf(11, 12, 13))
    // Peers whose sources still list a node dial it again until it is gone, so theirs are ended; its own agent must not.
    for (const last of [11, 12, 13, 15]) {
      await agents.get(last)?.terminate()
      agents.delete(last)
    }
    const leaving = spawn(process.execPath, [CLI, 'leave', '--config', join(folder, '14.yaml')], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let said = ''
    leaving.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
    const [code] = await once(leaving, 'exit')
    assert.equal(code, 0, said)
    await until('14 is out', async () => (await linksOf(14)).length === 0)
    await meshOf(11, 12, 13, 15)
    await until('the loss is counted', async () => (await lossesOf(11, 12, 13)) === expected)
    assert.equal((await agents.get(14)?.plan())?.leave, true)
  })
})

const COUNT_NODEDOWN = `
  Losses = counters:new(1, []), persistent_term:put(losses, Losses), Up = self(),
  spawn(fun() ->
    ok = net_kernel:monitor_nodes(true), Up ! counting,
    (fun Loop() -> receive {nodedown, _} -> counters:add(Losses, 1, 1); _ -> ok end, Loop() end)()
  end),
  receive counting -> ok end`

const COUNT_NODEDOWN_IN_ELIXIR = `
  losses = :counters.new(1, [])
  :persistent_term.put(:losses, losses)
  up = self()
  loop = fn loop ->
    receive do
      {:nodedown, _} -> :counters.add(losses, 1, 1)
      _ -> :ok
    end
    loop.(loop)
  end
  spawn(fn -> :ok = :net_kernel.monitor_nodes(true); send(up, :counting); loop.(loop) end)
  receive do :counting -> :ok end`

/** The counts of `lossesOf` after each node has lost one link more. */
function oneMore(losses: string): string {
  return losses.replaceAll(/: (\d+)/g, (_, count) => `: ${Number(count) + 1}`)
}

async function end(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  const [code] = await exited
  return code as number | null
}
