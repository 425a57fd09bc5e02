import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { networkInterfaces } from 'node:os'
import { RollcallError } from '../../core/error.ts'
import { parseIpv4 } from '../../core/node.ts'
import { DEFAULT_GROUP, type GossipOptions } from '../../core/sources/gossip.ts'

/** A UDP socket that follows the interfaces of the machine as they come and go. */
export interface Channel {
  /** Opens what is not open, and joins the group on each interface that is not joined. Throws `gossip_bind` or `gossip_interface`. */
  readonly tend: () => Promise<void>
  /** Sends on every interface. Throws `gossip_unsent` where none of them took it. */
  readonly send: (datagram: Uint8Array) => Promise<void>
  /** An own datagram came back from this address: that interface hears. */
  readonly heard: (address: string) => void
  /** Closes the socket; the next `tend` opens another. */
  readonly close: () => void
}

export interface ChannelOptions {
  options: Pick<GossipOptions, 'port' | 'group' | 'interface' | 'bind' | 'ttl' | 'broadcast'>
  receive: (datagram: Uint8Array, from: string) => void
  /** The interfaces of the machine; a seam for tests. */
  interfaces?: typeof networkInterfaces | undefined
}

/** An interface of the machine, by its first IPv4 address. */
export interface Interface {
  readonly name: string
  readonly address: string
  /** Where all on its network listen. */
  readonly broadcast: string
}

interface Joined extends Interface {
  readonly to: string
  /** Datagrams sent since one came back. */
  unheard: number
}

// One datagram may be lost in a queue that is full; three in a row are a membership that is gone.
export const MAX_UNHEARD = 3

/** Makes a channel; nothing is open before its first `tend`. */
export function openChannel({ options, receive, interfaces = networkInterfaces }: ChannelOptions): Channel {
  const { port, bind, ttl, broadcast } = options
  const joined = new Map<string, Joined>()
  let socket: Socket | undefined

  async function open(): Promise<Socket> {
    const opened = createSocket({ type: 'udp4', reuseAddr: true })
    try {
      opened.bind(port, bind)
      socket = opened
      // One that is closed meanwhile never listens.
      await Promise.race([once(opened, 'listening'), once(opened, 'close')])
    } catch (cause) {
      close()
      const { code } = cause as NodeJS.ErrnoException
      const advice =
        code === 'EADDRINUSE'
          ? 'another program has the port for itself'
          : 'check bind, and that this user may take the port'
      throw new RollcallError('gossip_bind', `[gossip] expected UDP port ${port} on ${bind}, got ${code}: ${advice}`, {
        cause,
      })
    }
    if (socket !== opened) {
      throw new RollcallError('gossip_bind', `[gossip] expected UDP port ${port} on ${bind}, got the end of the socket`)
    }
    // Without a listener it would end the process; the next tend opens another socket.
    opened.on('error', close)
    opened.on('message', (datagram, { address }) => receive(datagram, address))
    if (broadcast) opened.setBroadcast(true)
    else {
      opened.setMulticastTTL(ttl)
      // What this machine's other nodes, and the own ear, hear of it.
      opened.setMulticastLoopback(true)
    }
    return opened
  }

  function close(): void {
    joined.clear()
    const closing = socket
    socket = undefined
    try {
      closing?.close()
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ERR_SOCKET_DGRAM_NOT_RUNNING') throw error
    }
  }

  function part(opened: Socket, { name, address, to }: Joined): void {
    joined.delete(name)
    if (broadcast) return
    try {
      opened.dropMembership(to, address)
    } catch {
      // The interface is gone, and the membership with it.
    }
  }

  function join(opened: Socket, found: Interface, to: string): void {
    if (!broadcast) opened.addMembership(to, found.address)
    joined.set(found.name, { ...found, to, unheard: 0 })
  }

  return {
    async tend() {
      const found = findInterfaces(interfaces(), options.interface)
      const opened = socket ?? (await open())
      for (const known of Array.from(joined.values())) {
        const isThere = found.some(({ name, address }) => name === known.name && address === known.address)
        // A membership may be lost though its interface is there: an address that went for a moment takes it along.
        if (!isThere || known.unheard >= MAX_UNHEARD) part(opened, known)
      }
      let failure: unknown
      for (const candidate of found) {
        const { name } = candidate
        if (joined.has(name)) continue
        try {
          join(opened, candidate, options.group ?? (broadcast ? candidate.broadcast : DEFAULT_GROUP))
        } catch (error) {
          // One that does not do multicast (a tunnel, say) is left to the others.
          failure = error
        }
      }
      if (joined.size > 0) return
      // Two addresses that changed places, say: a new socket has no old memberships in its way.
      close()
      throw noInterface(`one that takes multicast, got ${String(failure)}`, failure)
    },

    async send(datagram) {
      let failure: unknown
      let sent = 0
      // One after the other: the interface is a setting of the socket.
      for (const target of joined.values()) {
        try {
          if (socket === undefined) break
          if (!broadcast) socket.setMulticastInterface(target.address)
          target.unheard++
          await sendOn(socket, datagram, { port, to: target.to })
          sent++
        } catch (error) {
          failure = error
        }
      }
      if (sent > 0) return
      const { code = 'a closed socket' } = (failure ?? {}) as NodeJS.ErrnoException
      const tried = [...joined.values()].map(({ name, address, to }) => `${to} from ${name} (${address})`).join(', ')
      const message = `[gossip] expected to send to ${tried || 'the group'}, got ${code}: is the network up, and does a firewall let UDP port ${port} out?`
      throw new RollcallError('gossip_unsent', message, { cause: failure })
    },

    heard(address) {
      for (const one of joined.values()) if (one.address === address) one.unheard = 0
    },

    close,
  }
}

/**
 * The interface that is wanted by name or address; without a wish all with an IPv4 address, and the loopback only where there is no
 * other. Throws `gossip_interface` where that is none.
 */
export function findInterfaces(all: ReturnType<typeof networkInterfaces>, wanted?: string): Interface[] {
  const found = Object.entries(all).flatMap(([name, addresses = []]) => {
    const usable = addresses.filter(({ family }) => family === 'IPv4')
    const chosen = usable.find(({ address }) => address === wanted) ?? usable[0]
    if (chosen === undefined) return []
    const { address, netmask, internal } = chosen
    return [{ name, address, internal, broadcast: broadcastOf(address, netmask) }]
  })
  const external = found.filter(({ internal }) => !internal)
  const chosen =
    wanted === undefined
      ? external.length > 0
        ? external
        : found
      : found.filter(({ name, address }) => name === wanted || address === wanted)
  if (chosen.length > 0) return chosen.map(({ name, address, broadcast }) => ({ name, address, broadcast }))
  const known = found.map(({ name, address }) => `${name} (${address})`).join(', ') || 'none'
  throw noInterface(`${wanted ?? 'one'} with an IPv4 address, got ${known}`)
}

function noInterface(expected: string, cause?: unknown): RollcallError {
  const message = `[gossip] expected an interface, ${expected}: check interface, and that it is up`
  return new RollcallError('gossip_interface', message, { cause })
}

function broadcastOf(address: string, netmask: string): string {
  const mask = parseIpv4(netmask) ?? []
  return (parseIpv4(address) ?? []).map((byte, index) => byte | (255 - (mask[index] ?? 255))).join('.')
}

async function sendOn(socket: Socket, datagram: Uint8Array, { port, to }: { port: number; to: string }): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const give = (error: Error | null) => (error === null ? resolve() : reject(error))
  // A socket that is closed meanwhile calls back for nothing that it had not begun to send.
  const giveUp = () => reject(Object.assign(new Error('closed'), { code: 'ECANCELED' }))
  socket.once('close', giveUp)
  try {
    socket.send(datagram, port, to, give)
    await promise
  } finally {
    socket.off('close', giveUp)
  }
}
