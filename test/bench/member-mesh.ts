import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { type MemberNode, startMember } from '../../agent/beam/member.ts'
import { freePort } from '../peers/erlang.ts'
import { elapsedMs, median } from './figure.ts'

// `node member-mesh.ts SIZE ROUNDS` makes meshes of SIZE members, all in this process, and as many bare connections between as
// many servers, in turns. Prints the medians in ms: all pairs linked where one of the two dials, where both do, and bare.
const [size = 0, rounds = 0] = process.argv.slice(2).map(Number)
const times: Record<'once' | 'both' | 'bare', number[]> = { once: [], both: [], bare: [] }
// The first round warms up.
for (let round = -1; round < rounds; round++) {
  const bare = await bareMeshMs()
  const once = await meshMs((index) => index + 1)
  const both = await meshMs(() => 0)
  if (round < 0) continue
  times.bare.push(bare)
  times.once.push(once)
  times.both.push(both)
}
process.stdout.write(`${median(times.once)} ${median(times.both)} ${median(times.bare)}\n`)

/** Until each is linked to each; a member dials those from `firstOf` its index on. */
async function meshMs(firstOf: (index: number) => number): Promise<number> {
  const port = await freePort()
  const hosts = addresses()
  // All handshakes are under way at once here, and on a busy machine one step of the last can take longer than the default.
  const options = { cookie: 'bench', port, stepTimeoutMs: 60_000 }
  const members = await Promise.all(hosts.map((host) => startMember({ ...options, name: `bench@${host}` })))
  try {
    return await elapsedMs(() =>
      Promise.all([
        ...members.map(full),
        ...members.flatMap((member, index) =>
          members.slice(firstOf(index)).map(({ name }) => member.name === name || member.connect(name)),
        ),
      ]),
    )
  } finally {
    await Promise.all(members.map((member) => member.stop()))
  }
}

/** Until a member is linked to all others. */
function full(member: MemberNode): Promise<void> {
  return new Promise((resolve) => {
    const off = member.onLink(() => {
      if (member.nodes().length < size - 1) return
      off()
      resolve()
    })
  })
}

/** The floor: until each pair has a TCP connection, accepted on the other side. */
async function bareMeshMs(): Promise<number> {
  const pairs = (size * (size - 1)) / 2
  const accepted: Socket[] = []
  const all = Promise.withResolvers<void>()
  const onAccept = (socket: Socket) => {
    accepted.push(socket)
    if (accepted.length === pairs) all.resolve()
  }
  const port = await freePort()
  const hosts = addresses()
  const servers = await Promise.all(hosts.map((host) => listening(createServer(onAccept).listen(port, host))))
  const dialled: Socket[] = []
  try {
    return await elapsedMs(async () => {
      for (const [index] of hosts.entries()) {
        for (const host of hosts.slice(index + 1)) dialled.push(connect({ host, port, noDelay: true }))
      }
      await Promise.all([all.promise, ...dialled.map((socket) => once(socket, 'connect'))])
    })
  } finally {
    for (const socket of [...accepted, ...dialled]) socket.destroy()
    await Promise.all(servers.map((server) => once(server.close(), 'close')))
  }
}

async function listening(server: Server): Promise<Server> {
  await once(server, 'listening')
  return server
}

function addresses(): string[] {
  return Array.from({ length: size }, (_, index) => `127.0.${1 + (index >> 7)}.${1 + (index & 127)}`)
}
