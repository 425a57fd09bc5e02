import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { atom, binary, isKind, type Term, textOf, tuple } from '../../agent/beam/etf.ts'
import { type MemberNode, type MemberOptions, startMember } from '../../agent/beam/member.ts'
import { makeCertificates } from './certificates.ts'
import { type Epmd, freePort, type Peer, startElixir, startEpmd, startErl } from './erlang.ts'
import { missingPrograms } from './programs.ts'
import { until } from './until.ts'

const cookie = 'secret'

// A gen_server of the test's own, compiled on the node that it runs at.
const COUNTER = `
  Forms = [element(2, erl_parse:parse_form(element(2, erl_scan:string(Form ++ ".")))) || Form <- [
    "-module(counter)", "-behaviour(gen_server)", "-export([init/1, handle_call/3, handle_cast/2, handle_info/2])",
    "init(Sum) -> {ok, Sum}",
    "handle_call(crash, _, _) -> exit(crashed); handle_call({add, N}, _, Sum) -> {reply, Sum + N, Sum + N}",
    "handle_cast({set, N}, _) -> {noreply, N}", "handle_info({plus, N}, Sum) -> {noreply, Sum + N}"]],
  {ok, counter, Code} = compile:forms(Forms),
  {module, counter} = code:load_binary(counter, "counter", Code),
  {ok, _} = gen_server:start({local, counter}, counter, 0, []), started`

function expose(node: MemberNode): void {
  node.expose({
    math: { add: (x, y) => Number(x) + Number(y), fail: () => Promise.reject(new Error('no numbers')) },
    echo: { size: (bytes) => (bytes as Uint8Array).length, back: (term = 0) => term },
  })
  let sum = 0
  node.register('js_counter', {
    call: (n) => (sum += Number(n)),
    cast: (n) => (sum = Number(n)),
    info: (n) => (sum += Number(n)),
  })
}

suite('A member and a real node', { skip: missingPrograms('erl'), timeout: 120_000 }, () => {
  let epmd: Epmd
  let erl: Peer
  let node: MemberNode

  before(async () => {
    epmd = await startEpmd()
    erl = await startErl({ name: 'erl@127.0.0.1', cookie, epmdPort: epmd.port })
    node = await startMember({ name: 'js@127.0.0.1', cookie, epmd: { port: epmd.port } })
    expose(node)
    await erl.evaluate(COUNTER)
  })
  after(async () => {
    await node.stop()
    await erl.kill()
    await epmd.stop()
  })

  test('ping each other, whoever begins; the member is hidden', async () => {
    assert.equal(await erl.evaluate(`net_adm:ping('${node.name}')`), 'pong')
    assert.equal(await erl.evaluate('{nodes(), nodes(hidden)}'), `{[],['${node.name}']}`)
    assert.deepEqual(node.nodes(), [erl.node])
    node.disconnect(erl.node)
    await until('the end of the link', async () => (await erl.evaluate('nodes(hidden)')) === '[]')
    assert.equal(await node.ping(erl.node), true)
    assert.equal(await erl.evaluate('nodes(hidden)'), `['${node.name}']`)
    assert.equal(await node.ping('nobody@127.0.0.1'), false)
  })

  test('the node calls functions that the member exposes, with rpc and erpc, and no others', async () => {
    assert.equal(await erl.evaluate(`rpc:call('${node.name}', math, add, [40, 2])`), '42')
    assert.equal(await erl.evaluate(`erpc:call('${node.name}', math, add, [40, 2], 5000)`), '42')
    assert.equal(
      await erl.evaluate(`erpc:multicall(['${node.name}', node()], erlang, abs, [-1])`).then(shape),
      shape(`[{error,{exception,undef,[{erlang,abs,[-1],[]}]}},{ok,1}]`),
    )
    assert.match(await erl.evaluate(`rpc:call('${node.name}', math, fail, [])`), /badrpc.*javascript.*no numbers/)
    assert.match(await erl.evaluate(`rpc:call('${node.name}', os, cmd, ["id"])`), /badrpc.*undef/)
    assert.equal(await erl.evaluate(`erpc:cast('${node.name}', math, add, [1, 2])`), 'ok')
    const request = `erpc:receive_response(erpc:send_request('${node.name}', math, add, [20, 1]))`
    assert.equal(await erl.evaluate(request), '21')
    const spawned = `{_, Ref} = spawn_monitor('${node.name}', math, add, [1, 2]), receive {'DOWN', Ref, _, _, R} -> R end`
    assert.equal(await erl.evaluate(spawned), 'normal')
  })

  test('the node calls a name of the member as a gen_server', async () => {
    const server = `{js_counter, '${node.name}'}`
    assert.equal(await erl.evaluate(`gen_server:cast(${server}, 10), gen_server:call(${server}, 5)`), '15')
    assert.equal(await erl.evaluate(`${server} ! 100, gen_server:call(${server}, 0)`), '115')
    assert.match(await erl.evaluate(`catch gen_server:call({nobody, '${node.name}'}, 1)`), /noproc/)
    const collected = `Reqs = gen_server:send_request(${server}, 1, label, gen_server:reqids_new()),
      element(1, gen_server:receive_response(Reqs, 5000, true))`
    assert.equal(await erl.evaluate(collected), '{reply,116}')
  })

  test('the member calls the node: erpc, a gen_server, casts and messages', async () => {
    const counter = { node: erl.node, name: 'counter' }
    assert.deepEqual(await node.rpc(erl.node, 'erlang', 'node', []), atom(erl.node))
    assert.equal(await node.call(counter, tuple(atom('add'), 5)), 5)
    await node.cast(counter, tuple(atom('set'), 100))
    await node.send(counter, tuple(atom('plus'), 11))
    assert.equal(await node.call(counter, tuple(atom('add'), 0)), 111)
    const pid = await node.rpc(erl.node, 'erlang', 'whereis', [atom('counter')])
    assert.ok(isKind(pid, 'pid'))
    assert.equal(await node.call(pid, tuple(atom('add'), 1)), 112)
    await assert.rejects(node.call({ node: erl.node, name: 'nobody' }, 1), { code: 'call_failed', message: /noproc/ })
    await assert.rejects(node.rpc(erl.node, 'erlang', 'error', [atom('oops')]), { code: 'rpc_failed', message: /oops/ })
  })

  test('each hears of the end of what it monitors at the other, and of the link', async () => {
    const heard = (name: string) =>
      new Promise<Term>((resolve) => node.monitor({ node: erl.node, name }, (reason) => resolve(reason)))
    await erl.evaluate('register(mortal, spawn(fun() -> receive stop -> exit(done) end end)), ok')
    const ended = heard('mortal')
    await node.ping(erl.node)
    await erl.evaluate('mortal ! stop')
    assert.deepEqual(await ended, atom('done'))
    assert.deepEqual(await heard('mortal'), atom('noproc'))

    const release = node.register('job', {})
    const down = erl.evaluate(`
      Ref = monitor(process, {job, '${node.name}'}), register(watcher, self()),
      receive {'DOWN', Ref, _, Who, Reason} -> {Who, Reason} end`)
    await until('the monitor', async () => (await erl.evaluate('whereis(watcher)')) !== 'undefined')
    await erl.evaluate(`rpc:call('${node.name}', math, add, [1, 2])`)
    release()
    assert.equal(await down, `{{job,'${node.name}'},normal}`)

    const lost = heard('counter')
    await node.ping(erl.node)
    await erl.evaluate(`disconnect_node('${node.name}')`)
    assert.deepEqual(await lost, atom('noconnection'))
  })

  test('a process of the node that links to a call of the member hears its end', async () => {
    const linked = `process_flag(trap_exit, true), Pid = spawn_link('${node.name}', math, fail, []),
      receive {'EXIT', Pid, Reason} -> Reason end`
    assert.match(await erl.evaluate(linked), /javascript.*no numbers/)
  })

  test('every kind of term comes back as it went', async () => {
    const terms = `[0, -1, 255, 1 bsl 40, -(1 bsl 80), 1.5, 2.0, <<"bin">>, <<1:3>>, "text", [], [a|b], {}, {a, {b}}, #{k => [v]},
      self(), make_ref(), fun lists:map/2, true, undefined, 'ä', [$a, 300]]`
    assert.equal(
      await erl.evaluate(`T = ${terms}, [X || X <- T, rpc:call('${node.name}', echo, back, [X]) =/= X]`),
      '[]',
    )
  })

  test('50 MB go both ways', async () => {
    const large = new Uint8Array(50 * 1024 * 1024).fill(7)
    assert.equal(await node.rpc(erl.node, 'erlang', 'byte_size', [large]), large.length)
    assert.equal(
      await erl.evaluate(`rpc:call('${node.name}', echo, size, [binary:copy(<<7>>, ${large.length})])`),
      String(large.length),
    )
  })

  for (const name of ['aaa', 'zzz']) {
    test(`200 of 200 simultaneous dials of ${name}, ${name < 'erl' ? 'the lesser' : 'the greater'} name, give one link`, async () => {
      const member = await startMember({ name: `${name}@127.0.0.1`, cookie, epmd: { port: epmd.port } })
      try {
        for (let round = 0; round < 200; round++) {
          const [, theirs] = await Promise.all([
            member.connect(erl.node),
            erl.evaluate(`net_kernel:connect_node('${member.name}')`),
          ])
          const seen = `round ${round}: ${theirs}`
          assert.equal(await member.ping(erl.node), true, seen)
          assert.equal(await erl.evaluate(`net_adm:ping('${member.name}')`), 'pong', seen)
          assert.deepEqual(member.nodes(), [erl.node], seen)
          member.disconnect(erl.node)
          await until('the end of the link', async () => !(await erl.evaluate('nodes(hidden)')).includes(member.name))
        }
      } finally {
        await member.stop()
      }
    })
  }

  test('a node with a shorter tick time keeps a member that says nothing', async () => {
    const hasty = await startErl({
      name: 'hasty@127.0.0.1',
      cookie,
      epmdPort: epmd.port,
      flags: ['-kernel', 'net_ticktime', '4'],
    })
    try {
      await node.connect(hasty.node)
      const seconds = 8
      const downs = `net_kernel:monitor_nodes(true, [{node_type, all}]), receive {nodedown, N, _} -> N after ${seconds}000 -> none end`
      assert.equal(await hasty.evaluate(downs), 'none')
    } finally {
      await hasty.kill()
    }
  })

  test('a member that is wanted visible is in nodes()', async () => {
    const options = { name: 'seen@127.0.0.1', cookie, epmd: { port: epmd.port }, hidden: false }
    const visible = await startMember(options)
    await visible.connect(erl.node)
    assert.equal(await erl.evaluate('nodes()'), `['${visible.name}']`)
    await visible.stop()
  })
})

suite('A member and an Elixir node', { skip: missingPrograms('elixir'), timeout: 60_000 }, () => {
  let elixir: Peer
  let node: MemberNode

  before(async () => {
    // The member serves the epmd here.
    const port = await freePort()
    node = await startMember({ name: 'js@127.0.0.1', cookie, epmd: { port, addresses: ['127.0.0.1'] } })
    elixir = await startElixir({ name: 'elixir@127.0.0.1', cookie, epmdPort: port })
    expose(node)
    node.expose({ 'Elixir.Greeter': { hello: (name) => binary(`hello ${textOf(name)}`) } })
  })
  after(async () => {
    await elixir.kill()
    await node.stop()
  })

  test('call each other through an epmd that the member serves', async () => {
    const js = `:"${node.name}"`
    assert.equal(node.servesEpmd, true)
    assert.equal(await elixir.evaluate(`Node.connect(${js})`), 'true')
    assert.equal(await elixir.evaluate(`:rpc.call(${js}, Greeter, :hello, ["Jane"])`), '"hello Jane"')
    assert.equal(await elixir.evaluate(`:erpc.call(${js}, :math, :add, [1, 2])`), '3')
    assert.equal(await elixir.evaluate(`GenServer.call({:js_counter, ${js}}, 5)`), '5')
    await elixir.evaluate(`
      defmodule Store do
        use GenServer
        def init(state), do: {:ok, state}
        def handle_call({:put, k, v}, _from, state), do: {:reply, map_size(state) + 1, Map.put(state, k, v)}
        def handle_cast(:clear, _), do: {:noreply, %{}}
      end
      GenServer.start(Store, %{}, name: Store)`)
    const store = { node: elixir.node, name: 'Elixir.Store' }
    assert.equal(await node.call(store, tuple(atom('put'), binary('key'), 1)), 1)
    await node.cast(store, atom('clear'))
    assert.equal(await node.call(store, tuple(atom('put'), binary('key'), 1)), 1)
    const upper = await node.rpc(elixir.node, 'Elixir.String', 'upcase', [binary('jane')])
    assert.equal(textOf(upper), 'JANE')
    const raised = /javascript.*no numbers/
    assert.match(await elixir.evaluate(`try do :erpc.call(${js}, :math, :fail, []) rescue e -> e end`), raised)
  })
})

suite('Members and real nodes over TLS', { skip: missingPrograms('erl', 'openssl'), timeout: 60_000 }, () => {
  let folder: string
  let epmd: Epmd
  let erl: Peer
  let options: MemberOptions & Required<Pick<MemberOptions, 'tls'>>

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'rollcall-member-tls-'))
    const { flags, tls } = makeCertificates(folder)
    epmd = await startEpmd()
    erl = await startErl({ name: 'erl@127.0.0.1', cookie, epmdPort: epmd.port, flags })
    options = { name: 'js@127.0.0.1', cookie, epmd: { port: epmd.port }, tls, stepTimeoutMs: 2_000 }
  })
  after(async () => {
    await erl.kill()
    await epmd.stop()
    rmSync(folder, { recursive: true })
  })

  test('link, whoever dials, and carry 5 MB both ways', async () => {
    const node = await startMember(options)
    expose(node)
    const twin = await startMember({ ...options, name: 'twin@127.0.0.1' })
    try {
      assert.equal(await erl.evaluate(`net_adm:ping('${node.name}')`), 'pong')
      node.disconnect(erl.node)
      assert.equal(await node.ping(erl.node), true)
      assert.equal(await twin.ping(node.name), true)
      const large = new Uint8Array(5_000_000)
      assert.equal(await node.rpc(erl.node, 'erlang', 'byte_size', [large]), large.length)
      assert.equal(await twin.rpc(node.name, 'echo', 'size', [large]), large.length)
      assert.equal(await erl.evaluate(`rpc:call('${node.name}', echo, size, [binary:copy(<<7>>, 5000000)])`), '5000000')
    } finally {
      await Promise.all([node.stop(), twin.stop()])
    }
  })

  test('each side refuses a peer with a certificate of another CA, without one, or without TLS', async () => {
    const node = await startMember(options)
    const { tls } = options
    assert.ok(tls)
    const strangers: Partial<MemberOptions>[] = [
      { tls: { ...tls, ca: join(folder, 'other.pem') } },
      { tls: { ca: tls.ca } },
      { tls: { ca: tls.ca, cert: join(folder, 'other.pem'), key: join(folder, 'other.key') } },
      { tls: undefined },
    ]
    try {
      for (const [index, given] of strangers.entries()) {
        const stranger = await startMember({ ...options, name: `stranger${index}@127.0.0.1`, ...given })
        assert.equal(await stranger.ping(node.name), false, `${index} dials`)
        assert.equal(await node.ping(stranger.name), false, `${index} is dialled`)
        assert.equal(await erl.evaluate(`net_adm:ping('${stranger.name}')`), 'pang', `${index} is dialled by erl`)
        await stranger.stop()
      }
      assert.deepEqual(node.nodes(), [])
    } finally {
      await node.stop()
    }
  })
})

suite('A member and a real node over IPv6', { skip: missingPrograms('erl'), timeout: 60_000 }, () => {
  test('ping and call each other', async () => {
    const port = await freePort()
    const node = await startMember({ name: 'js@::1', cookie, epmd: { port, addresses: ['::1'] } })
    expose(node)
    const erl = await startErl({ name: 'erl@::1', cookie, epmdPort: port, flags: ['-proto_dist', 'inet6_tcp'] })
    try {
      assert.equal(await node.ping(erl.node), true)
      assert.equal(await erl.evaluate(`rpc:call('${node.name}', math, add, [1, 2])`), '3')
      node.disconnect(erl.node)
      assert.equal(await erl.evaluate(`net_adm:ping('${node.name}')`), 'pong')
    } finally {
      await erl.kill()
      await node.stop()
    }
  })
})

suite('A member and a real node without epmd', { skip: missingPrograms('erl'), timeout: 60_000 }, () => {
  test('find each other on a port that all share', async () => {
    const port = await freePort()
    const node = await startMember({ name: 'js@127.0.0.2', cookie, port })
    const flags = ['-erl_epmd_port', String(port)]
    const erl = await startErl({ name: 'erl@127.0.0.3', cookie, epmdPort: await freePort(), flags })
    try {
      assert.equal(await node.ping(erl.node), true)
      node.disconnect(erl.node)
      assert.equal(await erl.evaluate(`net_adm:ping('${node.name}')`), 'pong')
    } finally {
      await erl.kill()
      await node.stop()
    }
  })
})

/** Erlang text without white space. */
function shape(text: string): string {
  return text.replaceAll(/\s/g, '')
}
