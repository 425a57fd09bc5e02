import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { describeContract, type Host, refusal } from '../contract/contract.ts'
import { createTable, CREDENTIALS } from './dynamodb-table.ts'
import { type Front, missingLambda, startLambda } from './lambda.ts'
import { type Moto, startMoto } from './moto.ts'
import { missingPrograms } from './programs.ts'

const skip = missingLambda() || missingPrograms('moto_server')
const TABLE = 'leases'

/** A handler beside a table of its own, and what a config says to reach it. */
async function startWithTable(config: object, front: Front): Promise<Host> {
  const moto: Moto = await startMoto()
  await createTable(moto.url, TABLE)
  const environment = { ...CREDENTIALS, DYNAMODB: moto.url, ROLLCALL_CONFIG: JSON.stringify(config) }
  const { fetch, close } = await startLambda(environment, front)
  return {
    fetch,
    async close() {
      await close()
      await moto.kill()
    },
  }
}

for (const front of ['function-url', 'http-api'] satisfies Front[]) {
  describeContract({
    name: `AWS Lambda behind ${front}`,
    registry: { store: 'dynamodb', table: TABLE, endpoint: '${DYNAMODB}' },
    waits: 'nowhere',
    start: (config) => startWithTable(config, front),
    skip,
  })
}

describe('the Lambda handler', { skip }, () => {
  const topologies = { web: { sources: [{ static: { nodes: ['a@h'] } }] } }

  it('serves nobody until its config says who may call', async (t) => {
    const lambda = await startLambda({ ROLLCALL_CONFIG: JSON.stringify({ topologies }) })
    t.after(lambda.close)
    assert.deepEqual(await refusal(await lambda.fetch('/v1/topologies/web/members')), [503, 'auth_not_configured'])
    assert.equal((await lambda.fetch('/healthz')).status, 200)
    assert.deepEqual(await refusal(await lambda.fetch('/readyz')), [404, 'not_found'])
  })

  it('says in its log, and only there, what is wrong with its config', async (t) => {
    const lambda = await startLambda({ ROLLCALL_CONFIG: '{"token":"hunter2"' })
    t.after(lambda.close)
    assert.deepEqual(await refusal(await lambda.fetch('/v1/topologies')), [503, 'config'])
    assert.match(lambda.logs(), /expected JSON in ROLLCALL_CONFIG/)
    assert.doesNotMatch(lambda.logs(), /hunter2/)
  })

  it('takes secrets from the environment', async (t) => {
    const auth = [{ name: 'ci', sha256: '${HASH}' }]
    const config = JSON.stringify({ topologies, auth })
    const lambda = await startLambda({ ROLLCALL_CONFIG: config, HASH: '0'.repeat(64) })
    t.after(lambda.close)
    assert.deepEqual(await refusal(await lambda.fetch('/v1/topologies')), [401, 'unauthenticated'])
  })

  it('has answered a call of its own before the first, so that none waits for what is loaded then', async (t) => {
    const lambda = await startLambda({ ROLLCALL_CONFIG: JSON.stringify({ topologies, auth: 'none' }) })
    t.after(lambda.close)
    await lambda.fetch('/v1/topologies')
    const [, first] = /"path":"([^"]+)","status":200/.exec(lambda.logs()) ?? []
    assert.equal(first, '/healthz')
  })
})
