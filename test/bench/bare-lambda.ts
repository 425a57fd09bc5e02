import { Hono } from 'hono'
import { handle } from 'hono/aws-lambda'

// The floor of the cold import: what a function on Lambda with this framework has at least.
const app = new Hono()
app.get('/v1/topologies/web/members', (c) => c.json({ members: [] }))

export const handler = handle(app)
