import { createAdaptorServer } from '@hono/node-server'
import { Hono } from 'hono'

// The floor of the HTTP figures: `node bare-server.ts URL` takes the answer of URL once, and from then on gives it as it
// was to GET /200, and its headers alone to GET /304.
const [url = ''] = process.argv.slice(2)
const answer = await fetch(url)
const text = await answer.text()
const kept = [...answer.headers].filter(([name]) => !/^(connection|content-length|date|keep-alive)$/.test(name))
const headers = Object.fromEntries(kept)

const app = new Hono()
app.get('/200', (c) => c.body(text, 200, headers))
app.get('/304', (c) => c.body(null, 304, headers))
const server = createAdaptorServer({ fetch: app.fetch })
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  if (address !== null && typeof address === 'object') process.stdout.write(`http://127.0.0.1:${address.port}\n`)
})
