import { Hono } from 'hono'

interface Bindings {
  readonly ROLLCALL: { fetch(url: string): Promise<Response> }
}

// The floor of the figure on workerd: takes the answer of the other worker once, and from then on gives it as it was.
let answer: { readonly text: string; readonly headers: Record<string, string> } | undefined

const app = new Hono<{ Bindings: Bindings }>()
app.get('/v1/topologies/web/members', async (c) => {
  answer ??= await take(c.env.ROLLCALL, c.req.url)
  return c.body(answer.text, 200, answer.headers)
})

async function take(rollcall: Bindings['ROLLCALL'], url: string): Promise<NonNullable<typeof answer>> {
  const taken = await rollcall.fetch(url)
  if (!taken.ok) throw new Error(`expected an answer, got ${taken.status}`)
  const kept = [...taken.headers].filter(([name]) => name !== 'content-length')
  return { text: await taken.text(), headers: Object.fromEntries(kept) }
}

export default app
