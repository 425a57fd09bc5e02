import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { parseConfig } from '../../core/config.ts'
import { membersDocumentSchema } from '../../core/wire.ts'
import { createApp } from '../../functions/app.ts'
import { staticSource } from '../../functions/resolvers/static.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }

describe('the function, on any host that speaks fetch', () => {
  const config = { auth: 'none', topologies: { web: { sources: [{ static: { nodes: ['b@h', 'a@h'] } }] } } }
  const { topologies, auth } = parseConfig(config, { file: 'rollcall.yaml', env: {} })

  test('says who is in a topology', async () => {
    const app = createApp({ topologies, auth, log, loaders: { static: async () => staticSource } })
    const response = await app.fetch(new Request('http://localhost/v1/topologies/web/members'))
    assert.equal(response.status, 200)
    const { outcome, members } = membersDocumentSchema.parse(await response.json())
    assert.deepEqual(
      { outcome, members },
      { outcome: 'complete', members: ['a@h', 'b@h'].map((node) => ({ node, status: 'up' })) },
    )
  })
})
