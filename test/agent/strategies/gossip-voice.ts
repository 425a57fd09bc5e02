import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import type { TestContext } from 'node:test'
import { DEFAULT_GROUP } from '../../../core/sources/gossip.ts'

/** A socket in the group on the loopback, in the place of other nodes. */
export interface Voice {
  readonly port: number
  /** Everything that it heard, its own words included. */
  readonly heard: Buffer[]
  say(datagram: Uint8Array): Promise<void>
  /** Resolves when it has heard so many. */
  hear(count?: number): Promise<void>
}

const LOOPBACK = '127.0.0.1'

/** Joins on a port of its own, or on the given one, until the test is over. */
export async function openVoice(t: TestContext, wanted = 0): Promise<Voice> {
  const socket: Socket = createSocket({ type: 'udp4', reuseAddr: true })
  t.after(() => socket.close())
  socket.bind(wanted)
  await once(socket, 'listening')
  const { port } = socket.address()
  socket.addMembership(DEFAULT_GROUP, LOOPBACK)
  socket.setMulticastInterface(LOOPBACK)
  const heard: Buffer[] = []
  socket.on('message', (datagram) => {
    heard.push(datagram)
    socket.emit('heard')
  })
  return {
    port,
    heard,
    async say(datagram) {
      await new Promise<void>((resolve, reject) => {
        socket.send(datagram, port, DEFAULT_GROUP, (error) => (error === null ? resolve() : reject(error)))
      })
    },
    async hear(count = 1) {
      while (heard.length < count) await once(socket, 'heard')
    },
  }
}
