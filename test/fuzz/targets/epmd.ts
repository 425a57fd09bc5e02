import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { lookUpPort, registeredNames } from '../../../agent/beam/epmd.ts'
import { createEpmdNames } from '../../../agent/beam/epmd-names.ts'
import { serveEpmd } from '../../../agent/beam/epmd-server.ts'
import { RollcallError } from '../../../core/error.ts'
import { startFake } from '../../agent/beam/fake-node.ts'
import { joinParts, partsOf, type Target } from '../target.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }
const client = { isLocal: true, epmdPort: 4369 }
// A connection costs a hundred times as much as a request.
const SOCKET_SHARE = 64

function alive(name: string, extra = ''): Buffer {
  const head = Buffer.from([120, 35, 41, 77, 0, 0, 6, 0, 5, 0, 0])
  head.writeUInt16BE(name.length, 9)
  return Buffer.concat([head, Buffer.from(name), Buffer.of(0, extra.length), Buffer.from(extra)])
}

const requests = [
  alive('app'),
  alive('b', 'extra'),
  Buffer.from('zapp'),
  Buffer.from('n'),
  Buffer.from('d'),
  Buffer.from('k'),
]
const replies = [
  Buffer.from([119, 0, 35, 41, 77, 0, 0, 6, 0, 5, 0, 3, 97, 112, 112, 0, 0]),
  Buffer.from([119, 1]),
  Buffer.concat([Buffer.from([0, 0, 17, 17]), Buffer.from('name app at port 9001\nname b at port 1\n')]),
]

/**
 * epmd: the table of names answers any requests with what epmd would, and forgets who goes; some inputs go over sockets, to the server,
 * and as the answers of a hostile epmd to the client.
 */
export async function epmdTarget(): Promise<Target> {
  const served = await serveEpmd({ port: 0, addresses: ['127.0.0.1'], log })
  let answer: Uint8Array = Buffer.alloc(0)
  const hostile = await startFake((socket) => socket.end(answer))
  let count = 0

  function answerAll(parts: readonly Buffer[]): void {
    const names = createEpmdNames(log)
    const releases: (() => void)[] = []
    for (const part of parts) {
      const isLocal = (part[0] ?? 0) !== 0
      const given = names.answer(part.subarray(1), { ...client, isLocal })
      if (given === undefined) continue
      assert.ok(given.reply.length <= 64 * 1024)
      if (given.release === undefined) continue
      assert.ok(isLocal, 'registered from elsewhere')
      releases.push(given.release)
    }
    assert.ok(releases.length <= parts.length)
    for (const release of releases) release()
    assert.equal(names.answer(Buffer.from('n'), client)?.reply.length, 4)
  }

  async function sendToServer(bytes: Uint8Array): Promise<void> {
    const socket = connect(served.port, '127.0.0.1')
    socket.on('error', () => {})
    socket.resume()
    socket.end(bytes)
    await new Promise((resolve) => socket.once('close', resolve))
    // It closes when it has read all: afterwards nobody is registered.
    assert.deepEqual(await registeredNames({ host: '127.0.0.1', port: served.port }), [])
  }

  async function hearHostile(bytes: Uint8Array): Promise<void> {
    answer = bytes
    const options = { host: '127.0.0.1', port: hostile.port }
    for (const asked of [lookUpPort('app', options), registeredNames(options)]) {
      await asked.catch((error: unknown) => {
        if (!(error instanceof RollcallError)) throw error
        assert.match(error.code, /^(epmd_|not_registered)/)
      })
    }
  }

  return {
    seeds: [
      ...requests.map((request) => joinParts([Buffer.concat([Buffer.of(1), request])])),
      joinParts(requests.map((request) => Buffer.concat([Buffer.of(1), request]))),
      joinParts(requests.map((request) => Buffer.concat([Buffer.of(0), request]))),
      ...requests.map((request) => joinParts([request])),
      ...replies,
    ],
    words: [...requests, 'name ', ' at port ', '\n', 'ä'],
    inputs: 20_000,

    async run(input) {
      answerAll(partsOf(input))
      if (count++ % SOCKET_SHARE > 0) return
      await hearHostile(input)
      await sendToServer(input)
    },

    async close() {
      await served.close()
      await hostile.close()
    },
  }
}
