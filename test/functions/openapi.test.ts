import assert from 'node:assert/strict'
import { it } from 'node:test'
import openapi from '../../functions/public/openapi.json' with { type: 'json' }
import { openapiDocument } from '../../functions/openapi.ts'

it('openapi.json is what the schemas of the code give: npm run openapi writes it anew', () => {
  assert.deepEqual(openapi, JSON.parse(JSON.stringify(openapiDocument())))
})

it('openapi.json points only at schemas that it has', () => {
  const { schemas } = openapi.components
  const references = [...JSON.stringify(openapi).matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)]
  assert.ok(references.length > 5)
  for (const [, name] of references) assert.ok(Object.hasOwn(schemas, name ?? ''), name)
})
