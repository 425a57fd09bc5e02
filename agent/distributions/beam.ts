import type { BeamConfig } from '../../core/config.ts'
import { describeError, RollcallError } from '../../core/error.ts'
import { basenameOf, hostOf, type NodeName, nodeName } from '../../core/node.ts'
import type { Log } from '../../functions/resolvers/source.ts'
import type { Connection } from '../beam/connection.ts'
import { EPMD_PORT, lookUpPort } from '../beam/epmd.ts'
import { atom, isAtom, isKind, isTuple, type Term } from '../beam/etf.ts'
import { createHome, namesOf } from '../beam/home.ts'
import { dial } from '../beam/dial.ts'
import { createNode } from '../beam/node.ts'
import { call, showTerm } from '../beam/rpc.ts'
import { type Clock, systemClock } from '../clock.ts'
import type { Distribution } from './distribution.ts'

export interface BeamSeams {
  /** The node that is steered. */
  self: NodeName
  log: Log
  clock?: Clock
  /** `ERL_EPMD_PORT` and `ERL_EPMD_ADDRESS` count as they do for `erl`, after the config. */
  env?: Record<string, string | undefined>
}

type Reason = Parameters<Distribution['disconnect']>[1]['reason']

// Above the 7 s that net_kernel:connect_node/1 gives a peer.
const CONNECT_TIMEOUT_MS = 12_000
// With the 7 s of connect_node before it a diagnosis still fits into the dial's 10 s.
const DIAGNOSIS_STEP_MS = 2_000
// How soon after it an eviction counts as undone, and the first wait then; doubled each time up to an hour.
const UNDONE_MS = 60_000
const MAX_EVICTION_WAIT_MS = 3_600_000
// What the same peer says again; a time-out, say, is another matter the next time.
const LASTING = new Set(['cookie_rejected', 'handshake_refused', 'connect_refused'])
const MAX_DIAGNOSES = 1_000

/**
 * The Erlang distribution, beside a BEAM node: a hidden connection to `self` steers it. Connects, lists and leaves through
 * the node itself; the node's own mesh stays as it is when this closes. While the node is down every call throws why.
 */
export function createBeamDistribution(config: BeamConfig, seams: BeamSeams): Distribution {
  const { self, log, clock = systemClock, env = process.env } = seams
  const local = createNode(config.name ?? nodeName(`rollcall-${basenameOf(self)}`, hostOf(self)))
  const epmdPort = config.epmd?.port ?? (Number(env.ERL_EPMD_PORT) || EPMD_PORT)
  const epmdHost = config.epmd?.host ?? env.ERL_EPMD_ADDRESS?.split(',')[0]
  const diagnoses = new Map<NodeName, { port: number; error: RollcallError }>()
  const evictions = new Map<NodeName, { at: number; waitMs: number; undone: boolean }>()
  const home = createHome({
    self,
    log,
    clock,
    dial: {
      self: local,
      cookie: config.cookie,
      port: config.port,
      tls: config.tls,
      epmd: { host: epmdHost, port: epmdPort },
    },
    onUp: noteUndone,
  })

  function noteUndone(node: NodeName): void {
    const eviction = evictions.get(node)
    if (eviction === undefined || eviction.undone || clock.now() - eviction.at > UNDONE_MS) return
    eviction.undone = true
    const { waitMs } = eviction
    log.warn({ node, waitMs }, 'somebody brought back a node that was taken out: do all agents ask the same sources?')
  }

  function refuseUndone(node: NodeName): void {
    const { at, waitMs, undone } = evictions.get(node) ?? { at: 0, waitMs: 0, undone: false }
    const leftMs = at + waitMs - clock.now()
    if (!undone || leftMs <= 0) return
    const message = `[beam] expected ${node} to stay out, got it brought back by somebody; it is taken out again in ${Math.ceil(leftMs / 1_000)} s: do all agents ask the same sources?`
    throw new RollcallError('eviction_undone', message, { retryAfterMs: leftMs })
  }

  function noteEviction(node: NodeName): void {
    for (const [name, { at }] of evictions) if (clock.now() - at > 2 * MAX_EVICTION_WAIT_MS) evictions.delete(name)
    const before = evictions.get(node)
    const waitMs = before?.undone === true ? Math.min(2 * before.waitMs, MAX_EVICTION_WAIT_MS) : UNDONE_MS
    evictions.set(node, { at: clock.now(), waitMs, undone: false })
  }

  /** Calls the configured function, else the default. Its arguments are atoms. */
  async function run(mfa: readonly string[], args: readonly Term[], signal?: AbortSignal): Promise<Term> {
    const [module = '', name = '', ...given] = mfa
    return await call(await home.connection(), module, name, [...given.map(atom), ...args], {
      timeoutMs: CONNECT_TIMEOUT_MS,
      signal,
    })
  }

  /** Why the node could not connect to `peer`, as far as it shows from here. A handshake is repeated only when the peer's port has changed: each failed one is a warning in its log. */
  async function diagnose(peer: NodeName, signal: AbortSignal): Promise<RollcallError> {
    if (isLongName(peer) !== isLongName(self)) {
      const kinds = isLongName(self) ? 'a long host, with a dot (-name)' : 'a short host, without a dot (-sname)'
      return new RollcallError(
        'name_kind_mismatch',
        `[beam] expected a name like ${self}, with ${kinds}, got ${peer}: a node dials only its own kind`,
      )
    }
    try {
      const timing = { signal, timeoutMs: DIAGNOSIS_STEP_MS }
      const port =
        config.port ?? (await lookUpPort(basenameOf(peer), { host: hostOf(peer), port: epmdPort, ...timing }))
      const known = diagnoses.get(peer)
      if (known?.port === port) return known.error
      const error = await tryHandshake(peer, port, signal)
      const [oldest] = diagnoses.keys()
      if (diagnoses.size >= MAX_DIAGNOSES && oldest !== undefined) diagnoses.delete(oldest)
      if (LASTING.has(error.code)) diagnoses.set(peer, { port, error })
      return error
    } catch (error) {
      signal.throwIfAborted()
      return seenFromHere(error)
    }
  }

  async function tryHandshake(peer: NodeName, port: number, signal: AbortSignal): Promise<RollcallError> {
    const { cookie, tls } = config
    try {
      const connection = await dial(peer, { self: local, cookie, port, tls, signal, stepTimeoutMs: DIAGNOSIS_STEP_MS })
      connection.close()
    } catch (error) {
      signal.throwIfAborted()
      return seenFromHere(error)
    }
    const check = 'its own way to the peer (DNS, firewall, TLS), a cookie set for one node, and net_kernel:allow/1'
    return new RollcallError(
      'connect_refused',
      `[beam] expected ${self} to connect to ${peer}, got false, although a hidden handshake from this agent works: check on the node ${check}`,
    )
  }

  function seenFromHere(error: unknown): RollcallError {
    const { code, message } = describeError(error)
    return new RollcallError(
      code,
      `${message} (seen from the agent ${local.name}; the node itself said no more than false)`,
      { cause: error },
    )
  }

  /** Takes the visible node at the other end out of its mesh, from within: seen from one peer alone, all three links of a mesh of three go. */
  async function leaveFrom(connection: Connection, signal?: AbortSignal): Promise<boolean> {
    // The module is loaded in every node that is alive; disconnect/0 came with OTP 25.1.
    const known = await call(connection, 'erlang', 'function_exported', [atom('global'), atom('disconnect'), 0], {
      signal,
    })
    if (isAtom(known, 'true')) await call(connection, 'global', 'disconnect', [], { signal })
    return isAtom(known, 'true')
  }

  /** Below OTP 25.1: where overlapping partitions are prevented a one-sided cut isolates everybody. */
  async function refuseUnsafe(connection: Connection, signal?: AbortSignal): Promise<void> {
    const setting = [atom('kernel'), atom('prevent_overlapping_partitions')]
    const value = await call(connection, 'application', 'get_env', setting, { signal })
    if (!isTuple(value, 2) || !isAtom(value.elements[1], 'true')) return
    throw new RollcallError(
      'cut_unsafe',
      `[beam] expected global:disconnect/0 or prevent_overlapping_partitions off at ${connection.peer}, got neither: with an OTP before 25.1 a cut would isolate all nodes`,
    )
  }

  /** Has `peer` leave, unless an agent of its own is there to decide that. */
  async function evict(peer: NodeName, reason: Reason, signal: AbortSignal): Promise<void> {
    const own = await home.connection()
    const { cookie, port, tls } = config
    const epmd = { port: epmdPort }
    const connection = await dial(peer, { self: local, cookie, port, tls, epmd, signal }).catch((error: unknown) => {
      signal.throwIfAborted()
      const message = `[beam] expected ${peer} to say whether it has an agent, got ${describeError(error).message} (a node that is dead is dropped by its tick)`
      throw new RollcallError('peer_not_asked', message, { cause: error })
    })
    try {
      const agent = await call(connection, 'erlang', 'whereis', [atom('rollcall_agent')], { signal })
      if (reason !== 'leaving' && isKind(agent, 'pid')) {
        throw new RollcallError(
          'disputed',
          `[beam] expected ${peer} to have no agent, got one: it takes its node out itself, when its sources say so`,
        )
      }
      if (await leaveFrom(connection, signal)) return
      await refuseUnsafe(connection, signal)
      await refuseUnsafe(own, signal)
      await call(own, 'erlang', 'disconnect_node', [atom(peer)], { signal })
    } finally {
      connection.close()
    }
  }

  async function list(): Promise<NodeName[]> {
    const answer = await run(config.list ?? ['erlang', 'nodes', 'connected'], [])
    return namesOf(answer).filter((node) => node !== local.name)
  }

  return {
    self,
    list,

    async connect(node, { signal }) {
      const answer = await run(config.connect ?? ['net_kernel', 'connect_node'], [atom(node)], signal)
      if (isAtom(answer, 'true') || (config.connect && isAtom(answer, 'ok'))) {
        diagnoses.delete(node)
        return
      }
      if (config.connect === undefined && isAtom(answer, 'false')) throw await diagnose(node, signal)
      throw new RollcallError(
        'connect_failed',
        `[beam] expected ${self} to connect to ${node}, got ${showTerm(answer)}`,
      )
    },

    async disconnect(node, { reason, signal }) {
      if (config.disconnect !== undefined) {
        await run(config.disconnect, [atom(node)], signal)
        return
      }
      refuseUndone(node)
      const nodes = async (kind: string) => namesOf(await run(['erlang', 'nodes', kind], [], signal))
      // One that has lost its link to us may be in a mesh of others by now.
      if (!(await nodes('connected')).includes(node)) return
      if ((await nodes('hidden')).includes(node)) await run(['erlang', 'disconnect_node'], [atom(node)], signal)
      else await evict(node, reason, signal)
      noteEviction(node)
    },

    async leave(members = []) {
      const connection = await home.connection()
      const left = await leaveFrom(connection)
      // What `global` leaves alone: links to hidden nodes, and all links of one.
      const isHidden = isTuple(await run(['init', 'get_argument', 'hidden'], []))
      if (!left && !isHidden) await refuseUnsafe(connection)
      const hiddenPeers = namesOf(await run(['erlang', 'nodes', 'hidden'], []))
      const rest = left && !isHidden ? members.filter((node) => hiddenPeers.includes(node)) : await list()
      for (const node of rest) await run(['erlang', 'disconnect_node'], [atom(node)])
    },

    changes: (signal) => home.changes(signal),
    close: () => home.close(),
  }
}

/** A node started with -name has a host with a dot, or an IPv6 address; one with -sname has neither. */
function isLongName(node: NodeName): boolean {
  return /[.:]/.test(hostOf(node))
}
