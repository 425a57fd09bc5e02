import { randomBytes } from 'node:crypto'
import { RollcallError } from '../../core/error.ts'
import type { NodeName } from '../../core/node.ts'
import { atom, isAtom, isKind, isTuple, type Pid, type Ref, type Term } from './etf.ts'
import { createFunctions, type Modules, readCall } from './exposed.ts'
import { readServerCall, reply } from './gen.ts'

/**
 * What can reach a mailbox: a message; the answer to a SPAWN_REQUEST (a pid, or an atom that says why not); the reason why a
 * monitored (`down`) or linked (`exit`) process ended; and last the end of the connection that the mailbox belongs to.
 */
export type Signal =
  | { readonly type: 'message' | 'spawned' | 'down' | 'exit'; readonly term: Term }
  | { readonly type: 'closed'; readonly error: RollcallError }

/** The nearest thing to a process that rollcall needs: a pid, and who takes what is sent to it. */
export interface Mailbox {
  readonly pid: Pid
  /** Tells the one who monitors it under this reference that it has ended with `reason`, though it goes on. */
  fail(monitor: Ref, reason: Term): void
  /** Ends it: who monitors it or is linked to it hears the reason, `normal` by default. */
  close(reason?: Term): void
}

/** A connection as the processes of this node see it. */
export interface Line {
  readonly peer: NodeName
  readonly self: LocalNode
  /** Aborts when the line ends; its reason is a RollcallError. */
  readonly closed: AbortSignal
  /** Sends a control message, with its payload if it has one. Nothing is sent once the line has ended. */
  send(control: readonly Term[], payload?: Term): void
  /** Opens a mailbox that hears of the end of the line, and of nothing after it. On an ended line nothing ever reaches it. */
  open(receive: (signal: Signal) => void): Mailbox
  /** Calls `listener` when the line ends, never once it has; gives the undo. */
  onEnd(listener: (error: RollcallError) => void): () => void
}

/** This process as a node: a name, the number that tells its pids from those of its predecessor under that name, and what lives in it. */
export interface LocalNode {
  readonly name: NodeName
  readonly creation: number
  /** Whether it is in `nodes()` of the others. A visible node that does not speak `global` makes `global:sync()` hang there. */
  readonly hidden: boolean
  createRef(): Ref
  /** Opens a mailbox; on a line it hears of its end, and nothing after it. */
  open(receive: (signal: Signal, line: Line) => void, line?: Line): Mailbox
  /** Gives a mailbox a name to be sent to. Throws `name_taken`. The undo takes the name back. */
  register(name: string, mailbox: Mailbox): () => void
  /** Lets others call these, by `module:function`; nothing is callable by default. The undo takes them back. */
  readonly expose: (modules: Modules) => () => void
  /** Takes a control message that came over `line`. Throws `flooded` where the peer wants more remembered than is bearable. */
  receive(control: readonly Term[], payload: Term, line: Line): void
}

interface Process {
  readonly pid: Pid
  readonly receive: (signal: Signal, line: Line) => void
  /** By reference or pid: tells the other side why this process ended. */
  readonly watchers: Map<string, Watcher>
  names: string[]
}

interface Watcher {
  readonly line: Line
  readonly tell: (reason: Term) => void
}

// Control messages: https://www.erlang.org/doc/apps/erts/erl_dist_protocol.html#protocol-between-connected-nodes
const LINK = 1
const SEND = 2
const UNLINK = 4
const REG_SEND = 6
const REG_SEND_TT = 16
const MONITOR_P = 19
const DEMONITOR_P = 20
const PAYLOAD_EXIT = 24
const PAYLOAD_MONITOR_P_EXIT = 28
const SPAWN_REQUEST = 29
const SPAWN_REQUEST_TT = 30
const SPAWN_REPLY = 31
const UNLINK_ID = 35
const UNLINK_ID_ACK = 36

// Those that bring something to the pid in their third place: what it is, and in which place it stands, or that it is the payload.
const DELIVERIES = new Map<Term | undefined, readonly [Exclude<Signal['type'], 'closed'>, number | 'payload']>([
  [SEND, ['message', 'payload']],
  [12, ['message', 'payload']], // SEND_TT
  [22, ['message', 'payload']], // SEND_SENDER
  [23, ['message', 'payload']], // SEND_SENDER_TT
  [3, ['exit', 3]], // EXIT
  [8, ['exit', 3]], // EXIT2
  [13, ['exit', 4]], // EXIT_TT
  [18, ['exit', 4]], // EXIT2_TT
  [PAYLOAD_EXIT, ['exit', 'payload']],
  [25, ['exit', 'payload']], // PAYLOAD_EXIT_TT
  [26, ['exit', 'payload']], // PAYLOAD_EXIT2
  [27, ['exit', 'payload']], // PAYLOAD_EXIT2_TT
  [21, ['down', 4]], // MONITOR_P_EXIT
  [PAYLOAD_MONITOR_P_EXIT, ['down', 'payload']],
  [SPAWN_REPLY, ['spawned', 4]],
  [32, ['spawned', 4]], // SPAWN_REPLY_TT
])

// A monitor, a link or a running call is some 500 bytes here: what one peer can pile up stays below 50 MB.
const MAX_REMEMBERED = 100_000

/** A node of this name, in no epmd and connected to nobody. Its creation is random: 1 to 3 belong to old nodes, 0 to nobody. */
export function createNode(name: NodeName, { hidden = true }: { hidden?: boolean } = {}): LocalNode {
  const creation = 4 + (randomBytes(4).readUInt32BE() % (0xffffffff - 4))
  const processes = new Map<number, Process>()
  const names = new Map<string, Process>()
  const functions = createFunctions()
  // What each line has us remember; its end makes us forget it.
  const remembered = new Map<Line, Map<string, () => void>>()
  let pids = 0
  let refs = 0

  function createPid(): Pid {
    pids++
    return { type: 'pid', node: name, id: pids % 2 ** 32, serial: Math.floor(pids / 2 ** 32), creation }
  }

  function createRef(): Ref {
    refs++
    return { type: 'ref', node: name, creation, words: [refs % 2 ** 18, Math.floor(refs / 2 ** 18), 0] }
  }

  function remember(line: Line, key: string, forget: () => void): void {
    const known = remembered.get(line) ?? new Map<string, () => void>()
    if (!remembered.has(line)) {
      remembered.set(line, known)
      line.onEnd(() => {
        remembered.delete(line)
        for (const undo of known.values()) undo()
      })
    }
    if (known.size >= MAX_REMEMBERED) {
      const message = `[beam] expected ${line.peer} to watch and call at most ${MAX_REMEMBERED} things at once, got more`
      throw new RollcallError('flooded', message)
    }
    known.set(key, forget)
  }

  function start(receive: Process['receive']): Process {
    const process = { pid: createPid(), receive, watchers: new Map<string, Watcher>(), names: [] }
    processes.set(numberOf(process.pid), process)
    return process
  }

  function end(process: Process, reason: Term): void {
    if (!processes.delete(numberOf(process.pid))) return
    for (const taken of process.names) names.delete(taken)
    const watchers = [...process.watchers]
    process.watchers.clear()
    for (const [key, { line, tell }] of watchers) {
      remembered.get(line)?.delete(placeOf(process, key))
      tell(reason)
    }
  }

  function find(target: Term | undefined): Process | undefined {
    if (isAtom(target)) return names.get(target.name)
    if (!isKind(target, 'pid') || target.node !== name || target.creation !== creation) return undefined
    return processes.get(numberOf(target))
  }

  function watch(process: Process, key: string, watcher: Watcher, onLineEnd: () => void = () => undefined): void {
    remember(watcher.line, placeOf(process, key), () => {
      process.watchers.delete(key)
      onLineEnd()
    })
    process.watchers.set(key, watcher)
  }

  function unwatch(process: Process | undefined, key: string, line: Line): void {
    if (process === undefined) return
    process.watchers.delete(key)
    remembered.get(line)?.delete(placeOf(process, key))
  }

  function onMonitor(watcher: Term, target: Term, ref: Term | undefined, line: Line): void {
    if (!isKind(ref, 'ref')) return
    // A name that is monitored is told as the name.
    const tell = (reason: Term) => line.send([PAYLOAD_MONITOR_P_EXIT, target, watcher, ref], reason)
    const process = find(target)
    if (process === undefined) tell(atom('noproc'))
    else watch(process, keyOf(ref), { line, tell })
  }

  function onLink(linked: Term, target: Term, line: Line): void {
    const tell = (pid: Term, reason: Term) => line.send([PAYLOAD_EXIT, pid, linked], reason)
    const process = find(target)
    if (process === undefined) return tell(target, atom('noproc'))
    const noConnection = () => process.receive({ type: 'exit', term: atom('noconnection') }, line)
    watch(process, keyOf(linked), { line, tell: (reason) => tell(process.pid, reason) }, noConnection)
  }

  function onSpawn(control: readonly Term[], args: Term, line: Line): void {
    const [, request, from, , target] = control
    const options = Array.isArray(control[5]) ? control[5] : []
    if (!isKind(request, 'ref') || !isKind(from, 'pid')) return
    const has = (option: string) =>
      options.some((given) => isAtom(given, option) || (isTuple(given, 2) && isAtom(given.elements[0], option)))
    const silent = options.some((given) => isTuple(given, 2) && isAtom(given.elements[1], 'no'))
    const work = readCall(target, args)
    if (work === undefined) {
      if (!silent) line.send([SPAWN_REPLY, request, from, 0, atom('notsup')])
      return
    }
    const process = start(() => undefined)
    const tellDown = (reason: Term) => line.send([PAYLOAD_MONITOR_P_EXIT, process.pid, from, request], reason)
    const tellExit = (reason: Term) => line.send([PAYLOAD_EXIT, process.pid, from], reason)
    if (has('monitor')) watch(process, keyOf(request), { line, tell: tellDown })
    if (has('link')) watch(process, keyOf(from), { line, tell: tellExit })
    // Bounds the calls that nobody watches, too.
    const running = placeOf(process, 'running')
    remember(line, running, () => end(process, atom('noconnection')))
    if (!silent) line.send([SPAWN_REPLY, request, from, (has('link') ? 1 : 0) + (has('monitor') ? 2 : 0), process.pid])
    const finish = async () => {
      const reason = await functions.run(work)
      remembered.get(line)?.delete(running)
      end(process, reason)
    }
    void finish()
  }

  const self: LocalNode = {
    name,
    creation,
    hidden,
    createRef,

    open(receive, line) {
      const process = start(receive)
      const undo = line?.onEnd((error) => {
        end(process, atom('noconnection'))
        receive({ type: 'closed', error }, line)
      })
      return {
        pid: process.pid,
        fail(monitor, reason) {
          const watcher = process.watchers.get(keyOf(monitor))
          if (watcher === undefined) return
          unwatch(process, keyOf(monitor), watcher.line)
          watcher.tell(reason)
        },
        close(reason = atom('normal')) {
          undo?.()
          end(process, reason)
        },
      }
    },

    register(given, { pid }) {
      const process = find(pid)
      if (process === undefined || names.has(given)) {
        const got = process === undefined ? 'a mailbox that was closed' : 'one that is taken'
        throw new RollcallError('name_taken', `[beam] expected a free name for a mailbox, got ${given}: ${got}`)
      }
      names.set(given, process)
      process.names.push(given)
      return () => {
        process.names = process.names.filter((taken) => taken !== given)
        if (names.get(given) === process) names.delete(given)
      }
    },

    expose: functions.expose,

    receive(control, payload, line) {
      const [op, first, second, third] = control
      const [type, place] = DELIVERIES.get(op) ?? []
      if (type !== undefined && place !== undefined) {
        const term = place === 'payload' ? payload : control[place]
        const process = find(second)
        // A link that has told its end is none any more.
        if (type === 'exit' && process !== undefined) unwatch(process, keyOf(first), line)
        if (term !== undefined) process?.receive({ type, term }, line)
        return
      }
      if (first === undefined || second === undefined) return
      switch (op) {
        case REG_SEND:
        case REG_SEND_TT:
          return find(third)?.receive({ type: 'message', term: payload }, line)
        case MONITOR_P:
          return onMonitor(first, second, third, line)
        case DEMONITOR_P:
          return unwatch(find(second), keyOf(third), line)
        case LINK:
          return onLink(first, second, line)
        case UNLINK:
          return unwatch(find(second), keyOf(first), line)
        case UNLINK_ID:
          if (third === undefined) return
          unwatch(find(third), keyOf(second), line)
          return line.send([UNLINK_ID_ACK, first, third, second])
        case SPAWN_REQUEST:
        case SPAWN_REQUEST_TT:
          return onSpawn(control, payload, line)
        default:
        // Acknowledgements, aliases that we never made, group leaders: nothing to do.
      }
    },
  }

  const netKernel: Mailbox = self.open((signal, line) => {
    if (signal.type === 'message') answerPing(signal.term, { server: netKernel.pid, line })
  })
  self.register('net_kernel', netKernel)
  return self
}

/** `net_adm:ping/1`: unanswered, it would cut the connection. */
function answerPing(message: Term, place: { server: Pid; line: Line }): void {
  const { from, request } = readServerCall(message) ?? {}
  if (from === undefined || !isTuple(request, 2) || !isAtom(request.elements[0], 'is_auth')) return
  reply(from, atom('yes'), place)
}

function numberOf({ id, serial }: Pid): number {
  return serial * 2 ** 32 + id
}

/** One that watches two of our processes is remembered twice. */
function placeOf({ pid }: Process, key: string): string {
  return `${numberOf(pid)} ${key}`
}

function keyOf(term: Term | undefined): string {
  if (isKind(term, 'ref')) return `${term.node} ${term.creation} ${term.words.join('.')}`
  return isKind(term, 'pid') ? `${term.node} ${term.creation} ${term.serial}.${term.id}` : ''
}
