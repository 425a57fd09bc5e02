import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { configJsonSchema } from '../../agent/commands/schema.ts'
import { readConfig, requireSelf } from '../../agent/config.ts'
import { RollcallError } from '../../core/error.ts'
import { temporaryFolder } from './cli-process.ts'

const SAMPLE = fileURLToPath(new URL('../../rollcall.yaml', import.meta.url))

describe('a config file', () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>
  before(async () => {
    folder = await temporaryFolder()
  })
  after(() => folder.remove())

  async function read(text: string) {
    const file = join(folder.path, 'file')
    await writeFile(file, text)
    return await readConfig(file, {})
  }

  async function mistake(text: string): Promise<string> {
    const error: unknown = await read(text).then(
      () => assert.fail(`no mistake found in ${text}`),
      (error: unknown) => error,
    )
    assert.ok(error instanceof RollcallError)
    return error.message.replace(/^.*\/file: /, '')
  }

  it('says the same in YAML and in JSON', async () => {
    const yaml = await read('topologies:\n  web:\n    sources:\n      - static: { nodes: [a@h] }\n      - none:\n')
    const json = await read('{"topologies": {"web": {"sources": [{"static": {"nodes": ["a@h"]}}, "none"]}}}')
    assert.deepEqual(yaml, json)
  })

  it('may name a part once and use it again', async () => {
    const config = await read('topologies:\n  web: &all { sources: [{ static: { nodes: [a@h] } }] }\n  jobs: *all\n')
    assert.deepEqual(config.topologies['web'], config.topologies['jobs'])
  })

  it('that is no YAML is refused with the place of the mistake, without the text around it', async () => {
    const wrong = 'expected YAML or JSON, got a mistake in '
    const cases = {
      'a: "hunter2': `${wrong}line 1, column 12: Missing closing "quote`,
      'a: |hunter2\n  b': `${wrong}line 1, column 5: Block scalar header includes extra characters`,
      'a: 1\na: 2': `${wrong}line 2, column 1: Map keys must be unique`,
      'a: 1\n---\nb: 2': `${wrong}line 2, column 1: Source contains multiple documents`,
      'a: !hunter2': `${wrong}line 1, column 4: a tag (!) that is not known: quotes make it text`,
      'a: !b!hunter2 c': `${wrong}line 1, column 4: a tag (!) that is not known: quotes make it text`,
      'a: "\\Uhunter2"': `${wrong}line 1, column 5: an escape (\\) that is not known: single quotes know none`,
      '%hunter2\n---\na: b': `${wrong}line 1, column 1: a directive (%) that is not known`,
      'a: *hunter2': `${wrong}an alias (*): Unresolved alias (the anchor must be set before the alias)`,
      'a: &a [*a]': 'a[0][0]: expected a value, got one that holds itself',
      hunter2: 'expected a mapping with the key topologies, got text that is not shown here',
    }
    for (const [text, expected] of Object.entries(cases)) assert.equal(await mistake(text), expected)
  })

  it('that is the sample is right, and needs no environment', async () => {
    const { node, topologies } = await readConfig(SAMPLE, {})
    assert.equal(node, 'app@10.0.0.1')
    assert.deepEqual(Object.keys(topologies), ['web'])
  })
})

describe('the name of this node', () => {
  const file = 'rollcall.yaml'

  it('is that of the config, else ROLLCALL_NODE, else RELEASE_NODE', () => {
    const env = { ROLLCALL_NODE: 'b@h', RELEASE_NODE: 'c@[::0:1]' }
    assert.equal(requireSelf({ node: 'a@h' }, { file, env }), 'a@h')
    assert.equal(requireSelf({}, { file, env }), 'b@h')
    assert.equal(requireSelf({}, { file, env: { ...env, ROLLCALL_NODE: '' } }), 'c@::1')
  })

  it('is wanted where there is none', () => {
    const message =
      '[config] rollcall.yaml: node: expected the name of this node here, in ROLLCALL_NODE or in RELEASE_NODE, got nothing'
    assert.throws(() => requireSelf({}, { file, env: {} }), { code: 'config', message })
  })
})

describe('the JSON Schema of the config', () => {
  const schema = configJsonSchema() as JsonSchema

  it('knows every key of the sample and asks only for topologies', () => {
    assert.equal(schema.$schema, 'https://json-schema.org/draft/2020-12/schema')
    assert.deepEqual(schema.required, ['topologies'])
    assert.equal(schema.additionalProperties, false)
    assert.deepEqual(Object.keys(schema.properties ?? {}), [
      'node',
      'distribution',
      'topologies',
      'agent',
      'auth',
      'log',
    ])
  })

  it('has durations as text of their form or a number of ms', () => {
    const topology = schema.properties?.['topologies']?.additionalProperties as JsonSchema
    const policy = topology.properties?.['policy']?.properties
    assert.deepEqual(
      policy?.['grace']?.anyOf?.map(({ type }) => type),
      ['string', 'number'],
    )
    const [, text] = topology.properties?.['interval']?.anyOf ?? []
    assert.match('1.5s', new RegExp(text?.pattern ?? '^$'))
    assert.doesNotMatch('5 sec', new RegExp(text?.pattern ?? ''))
  })
})

interface JsonSchema {
  $schema?: string
  type?: string
  pattern?: string
  required?: string[]
  properties?: Record<string, JsonSchema>
  additionalProperties?: JsonSchema | boolean
  anyOf?: JsonSchema[]
}
