import type { NodeName } from '../../../core/node.ts'
import { type Epmd, type Peer, startEpmd, startErl } from '../erlang.ts'
import { type ChaosNode, follow, isRegistered, nodeOn, type NodeOptions, type Part, writeConfig } from './node.ts'
import { type LogEntry, type Rollcall, startRollcall } from './rollcall.ts'
import { COOKIE, EPMD_PORT, TICK_TIME_S } from './settings.ts'

// Keeps each link that ends, also one that is there again before anybody looks.
const WATCH = `
  Up = self(),
  Keeper = spawn(fun() ->
    ok = net_kernel:monitor_nodes(true, [{node_type, all}, nodedown_reason]), Up ! watching,
    (fun Loop(Lost) -> receive
      {nodedown, Node, Info} ->
        Loop([{erlang:system_time(millisecond), Node, proplists:get_value(nodedown_reason, Info)} | Lost]);
      {take, From} -> From ! {lost, lists:reverse(Lost)}, Loop([]);
      _ -> Loop(Lost)
    end end)([])
  end),
  register(losses, Keeper), receive watching -> ok end`
const TAKE = `losses ! {take, self()}, receive {lost, Lost} -> [lists:flatten(io_lib:format("~w ~s ~0p", [At, Node, Why])) || {At, Node, Why} <- Lost] end`

// Five of them on two cores: to wait must cost nothing.
const IDLE = ['+S', '1:1', '+sbwt', 'none', '+sbwtdcpu', 'none', '+sbwtdio', 'none']
const FLAGS = ['-kernel', 'net_ticktime', String(TICK_TIME_S), ...IDLE]

// The sidecars' own connections have other names.
const OTHERS = /'(app@[\d.]+)'/g

/** Starts an Erlang node with its epmd and its sidecar. */
export async function startErlang(options: NodeOptions): Promise<ChaosNode> {
  const { host } = options
  const name = nodeOn(host)
  const file = await writeConfig('sidecar', options)
  const pids = new Map<Part, number>()
  const listeners = new Set<(entry: LogEntry) => void>()
  const told = new Set<NodeName>()
  let epmd: Epmd | undefined
  let peer: Peer | undefined
  let agent: Rollcall | undefined

  function onLog(entry: LogEntry): void {
    follow(told, entry)
    for (const listener of listeners) listener(entry)
  }

  async function start(part: Part): Promise<void> {
    if (part === 'epmd') {
      epmd = await startEpmd({ port: EPMD_PORT, address: host.address, enter: host.enter })
      pids.set(part, epmd.pid)
    } else if (part === 'erl') {
      peer = await startErl({ name, cookie: COOKIE, epmdPort: EPMD_PORT, flags: FLAGS, enter: host.enter })
      await peer.evaluate(WATCH)
      pids.set(part, peer.pid)
    } else {
      const upAt = 'answers /healthz, /readyz, /metrics and /v1/plan'
      agent = await startRollcall(['--config', file, 'agent'], { host, onLog, upAt })
      pids.set(part, agent.pid)
    }
  }

  async function kill(part: Part): Promise<void> {
    pids.delete(part)
    if (part === 'epmd') await epmd?.stop()
    else if (part === 'erl') await peer?.kill()
    else {
      await agent?.kill()
      told.clear()
    }
  }

  async function ask(expression: string): Promise<string> {
    if (peer === undefined) throw new Error(`${name} does not run`)
    return await peer.evaluate(expression)
  }

  for (const part of ['epmd', 'erl', 'agent'] as const) await start(part)
  return {
    name,
    host,
    kind: 'erlang',
    sources: options.sources.flatMap(Object.keys),
    pids,
    told,
    isRegistered: () => isRegistered(host),
    links: async () => new Set([...(await ask('nodes(connected)')).matchAll(OTHERS)].map(([, node = '']) => node)),
    async takeLosses() {
      const lines = [...(await ask(TAKE)).matchAll(/"(\d+) (app@\S+) ((?:[^"\\]|\\.)*)"/g)]
      return lines.map(([, at, of = '', why = '']) => ({ at: Number(at), by: name, of, why }))
    },
    log: () => `${agent?.log()}\n${peer?.output().slice(-2_000)}`,
    kill,
    start,
    onLog(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    async end() {
      await agent?.kill()
      await peer?.kill()
      await epmd?.stop()
    },
  }
}
