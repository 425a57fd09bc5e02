import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import type { Connection } from '../../../agent/beam/connection.ts'
import { atom, decodeFrom, encode, isTuple, type Pid, type Ref, type Term, tuple } from '../../../agent/beam/etf.ts'
import { dial } from '../../../agent/beam/dial.ts'
import { createNode, type Signal } from '../../../agent/beam/node.ts'
import { call } from '../../../agent/beam/rpc.ts'
import { acceptAs, frame, startFake } from './fake-node.ts'

const PEER = 'b@127.0.0.1'
const self = createNode('js@127.0.0.1')
const theirs: Pid = { type: 'pid', node: PEER, id: 9, serial: 0, creation: 77 }
const nobody: Pid = { type: 'pid', node: self.name, id: 99_999_999, serial: 0, creation: self.creation }
const ref: Ref = { type: 'ref', node: PEER, creation: 77, words: [1, 2, 3] }

function message(control: Term, payload?: Term): Buffer {
  const parts = [Buffer.from([112]), encode(control), ...(payload === undefined ? [] : [encode(payload)])]
  return frame(4, Buffer.concat(parts))
}

interface Fake {
  connection: Connection
  /** The peer's end. */
  socket: Socket
  /** The next control message and payload that the peer gets, ticks (an empty list) included. */
  next: () => Promise<Term[]>
  dropped: Promise<void>
}

async function connected(t: TestContext, options: { tickTimeMs?: number; maxFrameBytes?: number } = {}): Promise<Fake> {
  const got: Term[][] = []
  let wake = () => {}
  const { promise, resolve } = Promise.withResolvers<Socket>()
  let handshake = 2
  const read = (body: Buffer) => {
    if (handshake-- > 0) return
    if (body.length === 0) got.push([])
    else {
      const control = decodeFrom(body, 1)
      const payload = control.next < body.length ? [decodeFrom(body, control.next).term] : []
      got.push([control.term, ...payload])
    }
    wake()
  }
  const fake = await startFake(acceptAs(PEER, 'secret', resolve, { read }))
  t.after(fake.close)
  const connection = await dial(PEER, { self, cookie: 'secret', port: fake.port, ...options })
  t.after(() => connection.close())
  return {
    connection,
    socket: await promise,
    dropped: fake.dropped,
    async next() {
      while (got.length === 0) await new Promise<void>((resolve) => (wake = resolve))
      return got.shift() ?? []
    },
  }
}

async function endOf(connection: Connection): Promise<unknown> {
  if (!connection.closed.aborted) await once(connection.closed, 'abort')
  return connection.closed.reason
}

test('a message reaches its mailbox, whole or in pieces, and several in one piece', async (t) => {
  const { connection, socket } = await connected(t)
  const got: Signal[] = []
  const { promise, resolve } = Promise.withResolvers<void>()
  const mailbox = connection.open((signal) => {
    got.push(signal)
    if (got.length === 4) resolve()
  })
  const bytes = message(tuple(22, theirs, mailbox.pid), atom('hello'))
  for (const byte of bytes) socket.write(Buffer.from([byte]))
  socket.write(Buffer.concat([bytes, message(tuple(2, atom(''), mailbox.pid), 7), frame(4, Buffer.alloc(0)), bytes]))
  await promise
  assert.deepEqual(
    got.map((signal) => signal.type === 'message' && signal.term),
    [atom('hello'), atom('hello'), 7, atom('hello')],
  )
})

test('what is sent just before the connection is closed from here still goes out, in order', async (t) => {
  const { connection, next, dropped } = await connected(t)
  connection.send([2, atom(''), theirs], 1)
  connection.send([2, atom(''), theirs], 2)
  connection.close()
  assert.deepEqual(
    [await next(), await next()],
    [1, 2].map((sent) => [tuple(2, atom(''), theirs), sent]),
  )
  await dropped
})

test('what is sent to nobody, to another creation or to a closed mailbox is dropped', async (t) => {
  const { connection, socket, next } = await connected(t)
  const mailbox = connection.open(() => assert.fail('it was closed'))
  mailbox.close()
  socket.write(message(tuple(22, theirs, nobody), 1))
  socket.write(message(tuple(22, theirs, mailbox.pid), 1))
  socket.write(message(tuple(22, theirs, { ...mailbox.pid, creation: 5 }), 1))
  socket.write(message(tuple(6, theirs, atom(''), atom('rex')), tuple(theirs, atom('features_request'))))
  socket.write(message(tuple(35, 1, theirs, nobody)))
  assert.deepEqual(await next(), [tuple(36, 1, nobody, theirs)])
})

test('a monitor, a link and a spawn that find nobody are answered as a node answers them', async (t) => {
  const { socket, next } = await connected(t)
  socket.write(message(tuple(19, theirs, atom('logger'), ref)))
  assert.deepEqual(await next(), [tuple(28, atom('logger'), theirs, ref), atom('noproc')])
  socket.write(message(tuple(19, theirs, nobody, ref)))
  assert.deepEqual(await next(), [tuple(28, nobody, theirs, ref), atom('noproc')])
  socket.write(message(tuple(1, theirs, nobody)))
  assert.deepEqual(await next(), [tuple(24, nobody, theirs), atom('noproc')])
  const start = tuple(atom('erpc'), atom('execute_call'), 4)
  socket.write(message(tuple(29, ref, theirs, theirs, start, [atom('monitor')]), []))
  assert.deepEqual(await next(), [tuple(31, ref, theirs, 0, atom('notsup'))])
})

test('whoever monitors a mailbox hears of its end, unless the monitor was taken back', async (t) => {
  const { connection, socket, next } = await connected(t)
  const [kept, other] = [connection.open(() => {}), connection.open(() => {})]
  socket.write(message(tuple(19, theirs, other.pid, ref)))
  socket.write(message(tuple(20, theirs, other.pid, ref)))
  socket.write(message(tuple(19, theirs, kept.pid, ref)))
  socket.write(message(tuple(35, 1, theirs, nobody)))
  assert.deepEqual(await next(), [tuple(36, 1, nobody, theirs)])
  other.close()
  kept.close()
  assert.deepEqual(await next(), [tuple(28, kept.pid, theirs, ref), atom('normal')])
})

test('a process that is linked to two of ours hears of the end of each, and each of the end of the connection', async (t) => {
  const { connection, socket, next } = await connected(t)
  const ends: string[] = []
  const open = (name: string) => self.open((signal) => void (signal.type === 'exit' && ends.push(name)))
  const [one, two, three] = [open('one'), open('two'), open('three')]
  for (const { pid } of [one, two, three]) socket.write(message(tuple(1, theirs, pid)))
  socket.write(message(tuple(35, 1, theirs, nobody)))
  assert.deepEqual(await next(), [tuple(36, 1, nobody, theirs)])
  one.close(atom('done'))
  assert.deepEqual(await next(), [tuple(24, one.pid, theirs), atom('done')])
  connection.close()
  assert.deepEqual(ends, ['two', 'three'])
  two.close()
  three.close()
})

test('a ping is answered with its improper tag as it came', async (t) => {
  const { socket, next } = await connected(t)
  const tag: Term = { type: 'improper', elements: [atom('alias')], tail: ref }
  socket.write(message(tuple(19, theirs, atom('net_kernel'), ref)))
  const request = tuple(atom('is_auth'), atom(PEER))
  socket.write(
    message(tuple(6, theirs, atom(''), atom('net_kernel')), tuple(atom('$gen_call'), tuple(theirs, tag), request)),
  )
  const [control, answer] = await next()
  // Through the alias: a ping that was given up leaves nothing in the mailbox of who asked.
  assert.ok(isTuple(control, 3))
  assert.deepEqual([control.elements[0], control.elements[2], answer], [33, ref, tuple(tag, atom('yes'))])
})

test('a tick is echoed when nothing was written since the one before', async (t) => {
  const { connection, socket, next } = await connected(t)
  const tick = frame(4, Buffer.alloc(0))
  socket.write(tick)
  assert.deepEqual(await next(), [])
  connection.send([4])
  assert.deepEqual(await next(), [tuple(4)])
  socket.write(tick)
  socket.write(message(tuple(35, 1, theirs, nobody)))
  assert.deepEqual(await next(), [tuple(36, 1, nobody, theirs)])
})

test('an idle connection ticks by itself, and ends when the peer is silent for its tick time', async (t) => {
  const { connection, next, dropped } = await connected(t, { tickTimeMs: 80 })
  assert.deepEqual(await next(), [])
  assert.deepEqual(await next(), [])
  assert.equal(((await endOf(connection)) as { code: string }).code, 'peer_silent')
  await dropped
})

for (const [what, bytes, code] of [
  ['a frame beyond the limit', Buffer.from([0x7f, 0xff, 0xff, 0xff]), 'frame_too_large'],
  ['a frame of another type', frame(4, Buffer.from([131, 68, 0])), 'protocol_violated'],
  ['a frame that is no term', frame(4, Buffer.from([112, 131, 255, 255])), 'protocol_violated'],
  ['a term cut short', frame(4, Buffer.from([112, 131, 104, 200, 97])), 'protocol_violated'],
  ['a control message that is no tuple', message(atom('x')), 'protocol_violated'],
  ['a list nested 100,000 deep', frame(4, Buffer.alloc(500_000, Buffer.from([108, 0, 0, 0, 1]))), 'protocol_violated'],
] as const) {
  test(`${what} ends its own connection with ${code} and no other`, async (t) => {
    const bystander = await connected(t)
    const { connection, socket, dropped } = await connected(t)
    const asking = call(connection, 'erlang', 'node', [])
    socket.write(bytes)
    await assert.rejects(asking, { code })
    assert.equal(((await endOf(connection)) as { code: string }).code, code)
    await dropped
    bystander.socket.write(message(tuple(35, 1, theirs, nobody)))
    assert.deepEqual(await bystander.next(), [tuple(36, 1, nobody, theirs)])
  })
}

test('control messages of odd shapes change nothing', async (t) => {
  const { socket, next } = await connected(t)
  for (let op = 0; op < 40; op++) {
    socket.write(message(tuple(op)))
    socket.write(message(tuple(op, [], [], [], [])))
  }
  socket.write(message(tuple()))
  socket.write(message(tuple(35, 4_711, theirs, nobody)))
  for (;;) {
    const [control] = await next()
    if (JSON.stringify(control) === JSON.stringify(tuple(36, 4_711, nobody, theirs))) break
  }
})

test('a call ends with its connection, its signal or its time, and later calls fail at once', async (t) => {
  const { connection, socket } = await connected(t)
  const stop = new AbortController()
  const reason = new Error('enough')
  const aborted = call(connection, 'erlang', 'node', [], { signal: stop.signal })
  stop.abort(reason)
  await assert.rejects(aborted, reason)
  await assert.rejects(call(connection, 'erlang', 'node', [], { timeoutMs: 20 }), { code: 'rpc_timeout' })
  const lost = call(connection, 'erlang', 'node', [])
  socket.end()
  await assert.rejects(lost, { code: 'connection_lost' })
  await assert.rejects(call(connection, 'erlang', 'node', []), { code: 'connection_lost' })
})

test('a call with what is no term fails alone', async (t) => {
  const { connection } = await connected(t)
  const asking = call(connection, 'erlang', 'abs', [Number.NaN])
  await assert.rejects(asking, { code: 'etf' })
  assert.equal(connection.closed.aborted, false)
})

test('a connection closed from here says so, twice or once', async (t) => {
  const { connection, dropped } = await connected(t)
  connection.close()
  connection.close()
  await assert.rejects(call(connection, 'erlang', 'node', []), { code: 'connection_closed' })
  await dropped
})
