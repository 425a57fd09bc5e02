import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it, type TestContext } from 'node:test'
import { openSource } from '../../../agent/strategies/index.ts'
import { loadOwnSource } from '../../../agent/strategies/own.ts'
import { type Config, parseConfig } from '../../../core/config.ts'
import { RollcallError } from '../../../core/error.ts'
import { parseServedConfig } from '../../../core/served-config.ts'
import type { Source } from '../../../functions/resolvers/source.ts'
import { sourceContract, type World } from '../../contract/source-contract.ts'
import { runCli } from '../cli-process.ts'
import { createFakeLog } from '../fakes.ts'

const [A, B] = ['app@10.0.0.1', 'app@10.0.0.2'] as const
const MINI = import.meta.resolve('zod/mini')
const signal = new AbortController().signal

let folder: string
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rollcall-own-'))
})
after(() => rm(folder, { recursive: true }))

let count = 0

/** Writes a file beside the config, and gives what the config calls it. */
async function write(text: string, ending = 'ts'): Promise<string> {
  const name = `source-${++count}.${ending}`
  await writeFile(join(folder, name), text)
  return `./${name}`
}

function parse(path: string, options: unknown): Config {
  const raw = { topologies: { web: { sources: ['none', { [path]: options }] } } }
  return parseConfig(raw, { file: join(folder, 'rollcall.yaml'), env: { TOKEN: 'hidden' } })
}

function sourceIn({ topologies }: Config) {
  const [source] = topologies['web']?.sources ?? []
  return source ?? assert.fail('expected a source')
}

async function open(path: string, options: unknown = null) {
  const common = { topology: 'web', intervalMs: 5_000, self: A, log: createFakeLog() }
  return await openSource(sourceIn(parse(path, options)), common)
}

async function mistake(path: string, options: unknown = null): Promise<string> {
  try {
    await open(path, options)
  } catch (error) {
    assert.ok(error instanceof RollcallError, String(error))
    assert.equal(error.code, 'config')
    assert.doesNotMatch(error.message, /\n/)
    const place = `[config] ${folder}/rollcall.yaml: topologies.web.sources[1]["${path}"]`
    assert.ok(error.message.startsWith(place), error.message)
    return error.message.slice(place.length).replace(/^: /, '')
  }
  return assert.fail('expected a mistake, got none')
}

const LISTS = `export default {
  async look({ nodes }, { source, now }) {
    return { source, at: now(), outcome: 'complete', members: nodes.map((node) => ({ node, status: 'up' })) }
  },
}`

describe('a source of the user’s own', () => {
  it('is a file beside the config, in TypeScript or JavaScript, and is called by its path or its name', async () => {
    for (const ending of ['ts', 'js', 'mjs']) {
      const path = await write(LISTS, ending)
      const source = await open(path, { nodes: [A, B] })
      assert.equal(source.id, path)
      const { outcome, members } = await source.look(signal)
      assert.deepEqual([outcome, members?.map(({ node }) => node)], ['complete', [A, B]])
      assert.equal((await open(path, { nodes: [], name: 'mine' })).id, 'mine')
    }
  })

  it('may be a named export, or a function that gives a source of its own for each entry', async () => {
    const named = await open(await write(LISTS.replace('export default', 'export const source =')), { nodes: [A] })
    assert.equal((await named.look(signal)).outcome, 'complete')
    const text = `export default async () => {
      let looks = 0
      return { look: async (_options, { source, now }) => ({ source, at: now(), outcome: 'complete', members: [{ node: \`n\${++looks}@h\`, status: 'up' }] }) }
    }`
    const path = await write(text)
    const [one, other] = [await open(path), await open(path, { name: 'other' })]
    await one.look(signal)
    for (const [source, node] of [
      [one, 'n2@h'],
      [other, 'n1@h'],
    ] as const) {
      assert.equal((await source.look(signal)).members?.[0]?.node, node)
    }
  })

  it('may be two of one topology, with names of their own', async () => {
    const path = await write(LISTS)
    const raw = (second: object) => ({ topologies: { web: { sources: [{ [path]: {} }, { [path]: second }] } } })
    const origin = { file: join(folder, 'rollcall.yaml'), env: {} }
    assert.throws(() => parseConfig(raw({}), origin), /sources\[1\].*: expected a name of its own/)
    const { web } = parseConfig(raw({ name: 'second' }), origin).topologies
    assert.deepEqual(
      web?.sources.map(({ where }) => where?.path.at(-2)),
      [0, 1],
    )
  })

  it('is watched where it can be', async (t) => {
    const path = await write(`export default {
      async *watch(_options, { source, now, signal }) {
        yield { source, at: now(), outcome: 'partial', reason: 'one by one', members: ['${A}', '${B}', '${A}'].map((node) => ({ node, status: 'up' })) }
        await new Promise((resolve) => signal.addEventListener('abort', resolve))
      },
    }`)
    const ended = new AbortController()
    t.after(() => ended.abort())
    const source = await open(path)
    for await (const { members } of source.watch(ended.signal)) {
      assert.equal(members?.length, 2)
      break
    }
  })

  it('keeps the code of what it throws, and has one for what has none', async () => {
    const codes = {
      "Object.assign(new Error('it is down'), { code: 'api_down' })": 'api_down',
      "Object.assign(new Error('refused'), { code: 'ECONNREFUSED' })": 'source_threw',
      "'a word'": 'source_threw',
      undefined: 'source_threw',
    }
    for (const [thrown, code] of Object.entries(codes)) {
      const source = await open(await write(`export default { async look() { throw ${thrown} } }`))
      const observation = await source.look(signal)
      assert.equal(observation.outcome === 'failed' && observation.error.code, code)
    }
  })

  it('may fail with members, which are checked too', async () => {
    const source = await open(
      await write(`export default {
        look: async (_options, { source, now }) =>
          ({ source, at: now(), outcome: 'failed', error: { code: 'stale', message: 'old' }, members: [{ node: '${B}', status: 'up' }, 5] })
      }`),
    )
    const observation = await source.look(signal)
    assert.deepEqual([observation.outcome, observation.members], ['failed', [{ node: B, status: 'up' }]])
  })
})

describe('the command line with a source of the user’s own', () => {
  it('asks it wherever it is called from, does not serve it, and ends with 2 where it is wrong', async () => {
    const path = await write(LISTS)
    const config = join(folder, 'cli.yaml')
    await writeFile(config, `node: ${A}\ntopologies: { web: { sources: [{ ${path}: { nodes: [${A}, ${B}] } }] } }\n`)
    const run = (command: string) => runCli(['--config', config, command], { cwd: tmpdir() })
    const [looked, planned, served] = await Promise.all([run('look'), run('plan'), run('serve')])
    assert.deepEqual([looked.code, looked.stdout.split('\n')[0]], [0, `${path}  complete, 2 members`])
    assert.match(planned.stdout, new RegExp(`connect +${B}`))
    assert.deepEqual([served.code, served.stderr.includes(`source ${path}: expected a kind that is asked`)], [2, true])
    await rm(join(folder, path))
    const { code, stderr } = await run('look')
    assert.deepEqual([code, stderr.trim().split('\n').length], [2, 1])
  })
})

describe('a mistake with a source of the user’s own is one sentence', () => {
  const mistakes: [what: string, text: string, expected: RegExp][] = [
    ['no export', 'export const mine = {}', /^expected a default export or one named source, got mine$/],
    ['no exports', 'export {}', /^expected a default export or one named source, got no exports$/],
    ['nothing at all', '', /^expected a source with look or watch, got an empty mapping/],
    [
      'a throw while it loads',
      "throw new Error('no licence\\nmore')",
      /^expected a module that loads, got no licence$/,
    ],
    [
      'an import that is missing',
      "import 'rollcall-has-no-such-thing'",
      /^expected a module that loads, got Cannot find package/,
    ],
    ['no TypeScript that Node strips', 'enum A { b }', /^expected a module that loads, got .*enum/],
    ['a function that throws', "export default () => { throw new Error('no') }", /^expected its function .* got no$/],
    ['a function that gives nothing', 'export default () => {}', /^expected a source with look or watch, got nothing$/],
    ['another thing', 'export default 5', /^expected a source with look or watch, got 5$/],
    [
      'look of another type',
      "export default { look: 'ls' }",
      /^expected look to be a function that asks once, got "ls"$/,
    ],
    [
      'options of another type',
      'export default { look() {}, options: { url: 1 } }',
      /^expected options with a function parse, got a mapping with url$/,
    ],
    [
      'options that it refuses',
      "export default { look() {}, options: { parse() { throw new Error('expected url') } } }",
      /^expected options that it takes, got expected url$/,
    ],
  ]
  for (const [what, text, expected] of mistakes) {
    it(what, async () => {
      assert.match(await mistake(await write(text)), expected)
    })
  }

  it('a file that is missing', async () => {
    assert.equal(await mistake('./missing.ts'), `expected a file that can be read at ${folder}/missing.ts, got ENOENT`)
  })

  it('a secret of its options is not shown', async () => {
    const path = await write(
      `import * as z from '${MINI}'\nexport default { options: z.strictObject({ token: z.number() }), look() {} }`,
    )
    assert.equal(
      await mistake(path, { token: '${TOKEN}' }),
      '.token: expected a number, got text that is not shown here',
    )
  })

  for (const [what, entry, expected] of [
    [
      'options that are no mapping',
      { './a.ts': 5 },
      /sources\[0\]\["\.\/a\.ts"\]: expected one path, and under it its options: a mapping/,
    ],
    [
      'a name that is no text',
      { './a.ts': { name: 5 } },
      /sources\[0\]\["\.\/a\.ts"\]: expected one path, .* a mapping whose name is text/,
    ],
    [
      'two in one entry',
      { './a.ts': {}, './b.ts': {} },
      /sources\[0\]\["\.\/a\.ts"\]: expected one path, and under it/,
    ],
    ['a path without ./', { 'a.ts': {} }, /unknown source "a\.ts", did you mean \.\/a\.ts\?$/],
    [
      'a kind that is misspelt',
      { statik: { nodes: [] } },
      /sources\[0\]\.statik: unknown source statik, did you mean static\?$/,
    ],
  ] as const) {
    it(what, () => {
      const raw = { topologies: { web: { sources: [entry] } } }
      assert.throws(() => parseConfig(raw, { file: 'rollcall.yaml', env: {} }), { code: 'config', message: expected })
    })
  }

  it('a function that should serve it refuses it by name', () => {
    const raw = { topologies: { web: { sources: [{ './a.ts': {} }] } } }
    assert.throws(() => parseServedConfig(raw, { file: 'rollcall.yaml', env: {} }), {
      code: 'config',
      message: /sources\[0\]\["\.\/a\.ts"\]: unknown source "\.\/a\.ts"; known: static, dns/,
    })
  })
})

let own: Source<unknown>

// One file stands for every world: it does what its options say.
const WORLDS = `import * as z from '${MINI}'
export default {
  options: z.strictObject({ does: z.string(), entries: z.optional(z.array(z.unknown())) }),
  async look({ does, entries = [] }, { source, now, signal }) {
    if (does === 'throw') throw Object.assign(new Error('it is down'), { code: 'api_down' })
    if (does === 'hang') {
      const alive = setInterval(() => {}, 1_000)
      if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve))
      clearInterval(alive)
      throw signal.reason
    }
    if (does === 'babble') return entries[0]
    return { source, at: now(), outcome: 'complete', members: entries }
  },
}
`
const up = (node: string) => ({ node, status: 'up' })
const world =
  (does: string, entries: unknown[], more: Omit<World, 'options'> = {}) =>
  () => ({ options: { does, entries }, ...more })

sourceContract({
  name: './source.ts',
  kind: './source.ts',
  load: () => own,
  async parse(options) {
    await writeFile(join(folder, 'worlds.ts'), WORLDS)
    const raw = { topologies: { web: { sources: [{ './worlds.ts': options }] } } }
    // Its options are read by the file itself, before anything is asked.
    own = await loadOwnSource(sourceIn(parseConfig(raw, { file: join(folder, 'rollcall.yaml'), env: {} })))
    return {}
  },
  good: { does: 'list', entries: [], name: 'mine' },
  bad: { does: 5, entries: 'all' },
  lists: world('list', [up(B), up(A), up(B)], { nodes: [A, B] }),
  nobody: world('list', []),
  flawed: {
    'a name without host': world('list', [up(A), up('app@')], { nodes: [A] }),
    'a member of a wrong type': world('list', [up(A), null, 5, [[]]], { nodes: [A] }),
  },
  failing: {
    'a throw': world('throw', [], { code: 'api_down' }),
    'an answer that is none': world('babble', [undefined], { code: 'bad_observation' }),
    'nothing but bad entries': world('list', ['b', 'c'], { code: 'bad_observation' }),
  },
  hangs: async (_t: TestContext) => ({ options: { does: 'hang' }, asked: Promise.resolve() }),
})
