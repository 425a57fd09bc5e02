import assert from 'node:assert/strict'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { runCli, temporaryFolder } from './cli-process.ts'

// Whatever asks or dials leaves a file behind.
const DIALS =
  'distribution: { exec: { connect: [touch, dialled], disconnect: [touch, dialled], list: [touch, dialled] } }'
const ASKS = '- exec: { command: [touch, asked] }'
const SECRET = 'hunter2hunter2'

function config({ node = 'node: app@127.0.0.1', sources = ASKS, web = '', more = '' }): string {
  return `${node}\n${DIALS}\ntopologies:\n  web:\n    sources:\n      ${ASKS}\n      ${sources}\n    ${web}\n${more}\n`
}

describe('a mistake in the config ends a command with 2 and one sentence, before anything is asked or dialled', () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>
  before(async () => {
    folder = await temporaryFolder()
  })
  after(() => folder.remove())

  const duration = 'expected a duration like 250ms, 5s, 2m or 1h'
  const second = 'topologies.web.sources[1]'
  const node = 'expected a node name like app@10.0.0.1 (one @, ASCII, at most 255 bytes)'
  const mistakes: [string, string, string][] = [
    [
      'an unknown key',
      config({ sources: '- none', web: 'intervall: 5s' }),
      'topologies.web.intervall: unknown key intervall, did you mean interval?',
    ],
    [
      'a missing name of this node',
      config({ node: '', sources: '- none' }),
      'node: expected the name of this node here, in ROLLCALL_NODE or in RELEASE_NODE, got nothing',
    ],
    [
      'a bad duration',
      config({ sources: '- dns: { query: web.internal, timeout: 5 sec }' }),
      `${second}.dns.timeout: ${duration}, got "5 sec"`,
    ],
    [
      'an unset variable',
      config({ sources: '- dns: { query: "${ZONE}" }' }),
      `${second}.dns.query: expected the environment variable ZONE, got nothing: it is not set`,
    ],
    [
      'an unknown source',
      config({ sources: '- statik: { nodes: [] }' }),
      `${second}.statik: unknown source statik, did you mean static?`,
    ],
    [
      'two equal source ids',
      config({}),
      `${second}.exec: expected a name of its own, got a second source exec: add name: …`,
    ],
    [
      'a node name without @',
      config({ sources: '- static: { nodes: [app] }' }),
      `${second}.static.nodes[0]: ${node}, got "app"`,
    ],
    ['a name of this node without @', config({ node: 'node: app', sources: '- none' }), `node: ${node}, got "app"`],
    [
      'no YAML',
      `node: "app@a\nsecret: ${SECRET}`,
      'expected YAML or JSON, got a mistake in line 2, column 23: Missing closing "quote',
    ],
    ['an empty file', '', 'expected a mapping with the key topologies, got nothing'],
    [
      'no topologies',
      'log: { level: info }',
      'topologies: expected at least one topology: a name, and under it its sources, got nothing',
    ],
  ]
  for (const [what, text, sentence] of mistakes) {
    it(what, async () => {
      await writeFile(join(folder.path, 'mistake.yaml'), text)
      const { code, stdout, stderr } = await runCli(['once', '--config', 'mistake.yaml'], { cwd: folder.path })
      assert.equal(stderr, `[config] mistake.yaml: ${sentence}\n`)
      assert.deepEqual({ code, stdout }, { code: 2, stdout: '' })
      assert.deepEqual(await readdir(folder.path), ['mistake.yaml'])
    })
  }

  it('a file that is not there', async () => {
    const { code, stderr } = await runCli(['look'], { cwd: folder.path })
    assert.equal(code, 2)
    assert.equal(
      stderr,
      '[config] rollcall.yaml: expected a config file that can be read, got ENOENT: give its place with --config FILE\n',
    )
  })

  it('a registry among the sources of an agent', async () => {
    await writeFile(join(folder.path, 'mistake.yaml'), config({ sources: '- registry: {}' }))
    const { code, stderr } = await runCli(['once', '--config', 'mistake.yaml'], { cwd: folder.path })
    assert.equal(code, 2)
    assert.match(stderr, /^\[config\] source registry: .*, got registry: .* source function, with register: true\n$/)
  })

  it('a name of this node in the environment without @', async () => {
    await writeFile(join(folder.path, 'mistake.yaml'), config({ node: '', sources: '- none' }))
    const { code, stderr } = await runCli(['plan', '--config', 'mistake.yaml'], {
      cwd: folder.path,
      env: { RELEASE_NODE: 'app' },
    })
    assert.equal(code, 2)
    assert.equal(stderr, '[config] RELEASE_NODE: expected a node name like app@10.0.0.1, got "app"\n')
  })
})

describe('a wrong use of the command line ends with 2 and says on stderr what was expected', () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>
  before(async () => {
    const two = 'node: a@h\ntopologies: { web: { sources: [] }, jobs: { sources: [] } }'
    folder = await temporaryFolder({ 'rollcall.yaml': two })
  })
  after(() => folder.remove())

  const uses: [string[], RegExp][] = [
    [[], /Usage: rollcall/],
    [['lok'], /unknown command 'lok'\n\(Did you mean look\?\)/],
    [['look', '--jsn'], /unknown option '--jsn'\n\(Did you mean --json\?\)/],
    [['look', 'web', 'jobs'], /too many arguments/],
    [['look'], /^\[rollcall\] expected the name of a topology \(web, jobs\), got none\n$/],
    [['look', 'wbe'], /^\[rollcall\] expected the name of a topology \(web, jobs\), got "wbe"\n$/],
    [['look', 'web', '--for', '6 s'], /^\[look\] expected --for as a duration like 250ms, 5s, 2m or 1h, got "6 s"\n$/],
    [
      ['plan', '--connected', 'a@h,b'],
      /^\[plan\] expected --connected as node names like app@10.0.0.1, separated by commas, got "b"\n$/,
    ],
    [
      ['plan', 'web', '--state', 'state.json'],
      /^\[plan\] expected --state without a topology, .*, got --state and web\n$/,
    ],
    [['serve', '--port', 'http'], /^\[serve\] expected --port from 0 to 65535, got "http"\n$/],
    [
      ['serve', '--host', '0.0.0.0', '--port', '0'],
      /^\[serve\] expected auth in the config to serve on 0\.0\.0\.0, got none/,
    ],
  ]
  for (const [args, expected] of uses) {
    it(`rollcall ${args.join(' ')}`, async () => {
      const { code, stdout, stderr } = await runCli(args, { cwd: folder.path })
      assert.match(stderr, expected)
      assert.deepEqual({ code, stdout }, { code: 2, stdout: '' })
    })
  }
})

describe('a config in the wrong mode ends a command with 2, before a node is started', () => {
  const withBeam = (beam: string) =>
    `node: app@127.0.0.1\ndistribution: { beam: ${beam} }\ntopologies: { web: { sources: [] } }\n`
  const member = '{ mode: member, cookie: c }'
  const ends = /got member: that process is the node, and its links end with it; run rollcall agent\n$/
  const cases: [string, string, RegExp][] = [
    ['once', member, ends],
    ['leave', member, ends],
    [
      'agent',
      '{ mode: member, cookie: c, tls: { ca: ca.pem } }',
      /expected cert and key beside ca in the tls of a member/,
    ],
    [
      'agent',
      '{ mode: member, cookie: c, name: other@h }',
      /expected no name, connect, disconnect or list in mode member/,
    ],
    [
      'agent',
      '{ mode: member, cookie: c, list: [m, f] }',
      /expected no name, connect, disconnect or list in mode member/,
    ],
    [
      'agent',
      '{ cookie: c, listen: 127.0.0.1 }',
      /\[config\] rollcall\.yaml: distribution\.beam: expected no .*listen.* in mode sidecar/,
    ],
    [
      'agent',
      '{ cookie: c, hidden: false }',
      /\[config\] rollcall\.yaml: distribution\.beam: expected no .*hidden.* in mode sidecar/,
    ],
  ]
  for (const [command, beam, expected] of cases) {
    it(`rollcall ${command} with ${beam}`, async (t) => {
      const folder = await temporaryFolder({ 'rollcall.yaml': withBeam(beam) })
      t.after(() => folder.remove())
      const { code, stdout, stderr } = await runCli([command], { cwd: folder.path })
      assert.match(stderr, expected)
      assert.deepEqual({ code, stdout }, { code: 2, stdout: '' })
    })
  }
})
