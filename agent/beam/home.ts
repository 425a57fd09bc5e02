import { describeError, RollcallError } from '../../core/error.ts'
import type { NodeName } from '../../core/node.ts'
import type { Log } from '../../functions/resolvers/source.ts'
import { backoffMs, type Clock } from '../clock.ts'
import type { Connection } from './connection.ts'
import { isAtom, isTuple, type Term } from './etf.ts'
import type { Signal } from './node.ts'
import { type DialOptions, dial } from './dial.ts'
import { call, evaluateLinked, showTerm } from './rpc.ts'

export interface LinkChange {
  node: NodeName
  up: boolean
}

/** The connection of a sidecar to the node that it steers. */
export interface Home {
  /** The connection; opened where there is none, by whoever asks first. Rejects with why it could not be opened, or `closed`. */
  connection(): Promise<Connection>
  /** The links as they are and as they change, over every restart of the node; after each reconnect all of them anew. */
  changes(signal: AbortSignal): AsyncIterable<LinkChange>
  /** Ends the connection, and nothing at the node but its watcher. */
  close(): Promise<void>
}

export interface HomeOptions {
  self: NodeName
  dial: DialOptions
  log: Log
  clock: Clock
  /** Called when a node that had no link has one. */
  onUp: (node: NodeName) => void
}

/** What watches the links of its node. It is linked to our pid: it ends with our connection, and so does the name that says that an agent is here. */
const WATCHER = `
  case whereis(rollcall_agent) of
    undefined -> ok;
    Other ->
      Ended = monitor(process, Other),
      receive {'DOWN', Ended, _, _, _} -> ok after 2000 -> exit(taken) end
  end,
  true = register(rollcall_agent, self()),
  ok = net_kernel:monitor_nodes(true, [{node_type, all}, nodedown_reason]),
  Agent ! {links, nodes(connected)},
  Watch = fun Watch() ->
    receive
      {nodeup, Node, _} -> Agent ! {up, Node};
      {nodedown, Node, Info} -> Agent ! {down, Node, proplists:get_value(nodedown_reason, Info)};
      _ -> ok
    end,
    Watch()
  end,
  Watch().`

// A node boots in seconds, and looking for it costs one refused connection.
const RECONNECT = { baseMs: 500, maxMs: 5_000 }

/** Makes the connection to the own node; nothing is opened before it is asked for. */
export function createHome({ self, dial: dialOptions, log, clock, onUp }: HomeOptions): Home {
  const ending = new AbortController()
  const links = new Set<NodeName>()
  const subscribers = new Set<(change: LinkChange) => void>()
  let current: Connection | undefined
  let opening: Promise<Connection> | undefined

  async function connection(): Promise<Connection> {
    ending.signal.throwIfAborted()
    if (current?.closed.aborted === false) return current
    opening ??= open().finally(() => (opening = undefined))
    return await opening
  }

  async function open(): Promise<Connection> {
    const opened = await dial(self, { ...dialOptions, signal: ending.signal })
    try {
      const tickTime = await call(opened, 'net_kernel', 'get_net_ticktime', [])
      // While it is being changed it comes as a pair with the time to be.
      const seconds = isTuple(tickTime, 2) ? tickTime.elements[1] : tickTime
      if (typeof seconds === 'number' && seconds > 0) opened.setTickTime(seconds * 1_000)
      await watch(opened)
    } catch (error) {
      opened.close()
      throw error
    }
    if (opened.replaced) {
      // Two agents under one name would take the connection from each other for ever.
      log.warn(
        { node: self, as: opened.self.name },
        'took over from an agent of the same name: does another one run beside this node?',
      )
    }
    return (current = opened)
  }

  /** Starts the watcher; resolves with its first word. One that ends takes the connection along, so that it is made anew. */
  async function watch(opened: Connection): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    // It can end before it is known to have been spawned; whoever awaits it still sees that.
    promise.catch(() => {})
    await evaluateLinked(opened, WATCHER, (signal: Signal) => {
      if (signal.type === 'closed') reject(signal.error)
      if (signal.type === 'exit') {
        reject(watcherEnded(self, signal.term))
        opened.close()
      }
      if (signal.type !== 'message' || !isTuple(signal.term)) return
      const [kind, subject, reason] = signal.term.elements
      if (isAtom(kind, 'links')) {
        replaceLinks(namesOf(subject).filter((node) => node !== opened.self.name))
        resolve()
      } else if (isAtom(subject)) {
        publish({ node: subject.name, up: isAtom(kind, 'up') })
        if (reason !== undefined) log.debug({ node: subject.name, reason: showTerm(reason) }, 'a link went down')
      }
    })
    await promise
  }

  function replaceLinks(nodes: NodeName[]): void {
    const present = new Set(nodes)
    for (const node of links) if (!present.has(node)) publish({ node, up: false })
    for (const node of nodes) publish({ node, up: true })
  }

  function publish(change: LinkChange): void {
    const { node, up } = change
    if (up && !links.has(node)) onUp(node)
    if (up) links.add(node)
    else links.delete(node)
    for (const tell of subscribers) tell(change)
  }

  async function stayConnected(signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted; failures++) {
      const openedAt = clock.now()
      try {
        const { closed } = await connection()
        await clock.sleep(Infinity, AbortSignal.any([closed, signal]))
        if (clock.now() - openedAt > RECONNECT.maxMs) failures = 0
      } catch (error) {
        log.debug({ node: self, ...describeError(error) }, 'the own node is out of reach')
      }
      await clock.sleep(backoffMs(failures, { ...RECONNECT, clock }), signal)
    }
  }

  async function* changes(signal: AbortSignal): AsyncIterable<LinkChange> {
    const queue = [...links].map((node): LinkChange => ({ node, up: true }))
    const done = new AbortController()
    const either = AbortSignal.any([signal, ending.signal, done.signal])
    let wake = () => {}
    const tell = (change: LinkChange) => {
      queue.push(change)
      wake()
    }
    subscribers.add(tell)
    either.addEventListener('abort', () => wake(), { once: true })
    const staying = stayConnected(either)
    try {
      while (!either.aborted) {
        const change = queue.shift()
        if (change !== undefined) yield change
        else await new Promise<void>((resolve) => (wake = resolve))
      }
    } finally {
      done.abort()
      subscribers.delete(tell)
      await staying
    }
  }

  return {
    connection,
    changes,
    async close() {
      ending.abort(new RollcallError('closed', `[beam] expected an agent of ${self} that runs, got a closed one`))
      await opening?.catch(() => undefined)
      current?.close()
    },
  }
}

/** The names in a list of atoms. Throws `list_malformed` on anything else. */
export function namesOf(term: Term | undefined): NodeName[] {
  const names = Array.isArray(term) ? term.map((node) => (isAtom(node) ? node.name : undefined)) : [undefined]
  if (names.every((name) => name !== undefined)) return names
  const got = term === undefined ? 'nothing' : showTerm(term)
  throw new RollcallError('list_malformed', `[beam] expected a list of node names, got ${got}`)
}

function watcherEnded(self: NodeName, reason: Term): RollcallError {
  if (isAtom(reason, 'taken')) {
    const message = `[beam] expected no other agent at ${self}, got a process registered as rollcall_agent: stop one of the two`
    return new RollcallError('agent_already_running', message)
  }
  return new RollcallError('watcher_ended', `[beam] expected the watcher at ${self} to run, got ${showTerm(reason)}`)
}
