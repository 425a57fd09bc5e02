import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { duplexPair } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import { runConnection } from '../../../agent/beam/connection.ts'
import { atom, binary, encode, type Pid, type Ref, type Term, tuple } from '../../../agent/beam/etf.ts'
import { callServer, serve } from '../../../agent/beam/gen.ts'
import { createNode, type Mailbox } from '../../../agent/beam/node.ts'
import { createFrameReader } from '../../../agent/beam/socket.ts'
import { RollcallError } from '../../../core/error.ts'
import { frame } from '../../agent/beam/fake-node.ts'
import { joinParts, partsOf, replaceMarker, type Target } from '../target.ts'

// Stands in an input for the start of the node under test, without which no pid is one of it.
const CREATION = 0x43524541
const marker = Buffer.from('CREA')
const evil = 'evil@127.0.0.9'
const evilPid: Pid = { type: 'pid', node: evil, id: 1, serial: 0, creation: 5 }
const ref: Ref = { type: 'ref', node: evil, creation: 5, words: [1, 2, 3] }
const server: Pid = { type: 'pid', node: 'a@127.0.0.1', id: 2, serial: 0, creation: CREATION }
const target = tuple(atom('erpc'), atom('execute_call'), 4)
const spawned = [ref, atom('math'), atom('add'), [1, 2]]
const request = tuple(atom('$gen_call'), tuple(evilPid, [ref]), tuple(atom('is_auth'), atom(evil)))
const aliased: Term = { type: 'improper', elements: [atom('alias')], tail: ref }

/** A frame's body: type, control message, payload. */
function message(control: Term, payload?: Term): Uint8Array {
  return Buffer.concat([Buffer.of(112), encode(control), ...(payload === undefined ? [] : [encode(payload)])])
}

const messages: readonly Uint8Array[] = [
  message(tuple(6, evilPid, atom(''), atom('net_kernel')), request),
  message(tuple(6, evilPid, atom(''), atom('total')), tuple(atom('$gen_call'), tuple(evilPid, aliased), 5)),
  message(tuple(6, evilPid, atom(''), atom('total')), tuple(atom('$gen_call'), tuple(evilPid, ref), atom('fail'))),
  message(tuple(6, evilPid, atom(''), atom('total')), tuple(atom('$gen_cast'), binary('x'))),
  message(tuple(2, atom(''), server), atom('hello')),
  message(tuple(22, evilPid, server), atom('hello')),
  message(tuple(19, evilPid, atom('total'), ref)),
  message(tuple(19, evilPid, server, ref)),
  message(tuple(20, evilPid, atom('total'), ref)),
  message(tuple(1, evilPid, server)),
  message(tuple(4, evilPid, server)),
  message(tuple(35, 1, evilPid, server)),
  message(tuple(24, evilPid, server), atom('killed')),
  message(tuple(28, evilPid, server, ref), atom('killed')),
  message(tuple(8, evilPid, server, atom('killed'))),
  message(tuple(29, ref, evilPid, evilPid, target, [atom('monitor'), atom('link')]), spawned),
  message(
    tuple(29, ref, evilPid, evilPid, tuple(atom('math'), atom('add'), 2), [tuple(atom('reply'), atom('no'))]),
    [1, 2],
  ),
  message(tuple(29, ref, evilPid, evilPid, target, [atom('monitor')]), [ref, atom('math'), atom('none'), [[[[1]]]]]),
  message(tuple(31, ref, server, 0, server)),
  Buffer.alloc(0),
]

/**
 * The connected state, for a peer that knows the cookie. Each part is a frame, the last one sent raw where the first part begins with an
 * odd byte. Whatever it says, its own connection is all that it can end, with a RollcallError, and a friend is answered still.
 */
export async function connectedTarget(): Promise<Target> {
  const node = createNode('a@127.0.0.1')
  const caught: unknown[] = []
  const handler = {
    call(asked: Term) {
      if (asked === 5) return 6
      throw new Error('out of numbers')
    },
    cast: () => undefined,
    info: () => undefined,
  }
  const total: Mailbox = node.open(
    serve(
      handler,
      () => total,
      (error) => caught.push(error),
    ),
  )
  node.register('total', total)
  node.expose({ math: { add: (a, b) => Number(a) + Number(b), wrap: (term) => [[[term ?? 0]]] } })
  const friend = createNode('b@127.0.0.2')
  const line = connect(friend.name)

  function connect(peer: string) {
    const [near, far] = duplexPair()
    const socket = near as unknown as Socket
    const limits = { maxFrameBytes: 1024 * 1024, tickTimeMs: 1e9, creation: 5, replaced: false }
    return { far, link: runConnection(socket, createFrameReader(socket), { self: node, peer, ...limits }) }
  }
  const far = line.far as unknown as Socket
  const own = { self: friend, peer: node.name, creation: node.creation, replaced: false, tickTimeMs: 1e9 }
  const toNode = runConnection(far, createFrameReader(far), own)

  async function ping(): Promise<void> {
    const asked = tuple(atom('is_auth'), atom(friend.name))
    const answer = await callServer(toNode, { node: node.name, name: 'net_kernel' }, asked, { timeoutMs: 15_000 })
    assert.deepEqual(answer, atom('yes'))
  }

  const creation = Buffer.alloc(4)
  creation.writeUInt32BE(node.creation)
  return {
    seeds: [...messages.map((one) => joinParts([Buffer.alloc(1), one])), joinParts([Buffer.alloc(1), ...messages])],
    words: [marker, ...messages, encode(server).subarray(1), encode(evilPid).subarray(1), encode(ref).subarray(1)],
    inputs: 5_000,

    async run(input) {
      const [options = Buffer.alloc(0), ...frames] = partsOf(replaceMarker(input, marker, creation))
      const { far: peer, link } = connect(evil)
      const ended = once(link.closed, 'abort')
      peer.on('error', () => {})
      peer.resume()
      const isRaw = ((options[0] ?? 0) & 1) === 1
      frames.forEach((body, index) => {
        peer.write(isRaw && index === frames.length - 1 ? body : frame(4, body))
      })
      peer.end()
      if (!link.closed.aborted) await ended
      assert.ok(link.closed.reason instanceof RollcallError, String(link.closed.reason))
      // What a call of an exposed function gives comes some turns later.
      await turn()
      await ping()
      peer.destroy()
    },

    async close() {
      toNode.close()
      line.link.close()
    },
  }
}
