import { createServer, type Server } from 'node:net'

// The floor of the connect figure: two TCP servers that answer as often as epmd and a node do in a connect, with as many
// bytes, and understand nothing. Prints their ports.
const EPMD_REPLY = Buffer.alloc(16)
const STATUS_AND_CHALLENGE = Buffer.alloc(5 + 36)
const ACK = Buffer.alloc(19)

const epmd = createServer((socket) => {
  socket.on('error', () => socket.destroy())
  socket.once('data', () => socket.end(EPMD_REPLY))
})
const node = createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => socket.destroy())
  const answers = [STATUS_AND_CHALLENGE, ACK]
  socket.on('data', () => socket.write(answers.shift() ?? ACK))
})
process.stdout.write(`${await portOf(epmd)} ${await portOf(node)}\n`)

function portOf(server: Server): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      resolve(address !== null && typeof address === 'object' ? address.port : 0)
    })
  })
}
