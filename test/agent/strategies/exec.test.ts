import assert from 'node:assert/strict'
import { mkdtemp, rm, watch } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { execSource, parseOutput } from '../../../agent/strategies/exec.ts'
import { observe } from '../../../functions/resolvers/source.ts'
import { BAD_BODIES } from '../../contract/loopback.ts'
import { sourceContract, type World } from '../../contract/source-contract.ts'
import { createFakeLog } from '../fakes.ts'

const [B, C] = ['b@10.0.0.2', 'c@10.0.0.3'] as const

/** Runs a script of Node as the command of the source. */
function look(script: string, { timeout = 30_000, signal = new AbortController().signal } = {}) {
  const context = { source: 'exec', signal, now: () => 1_000, log: createFakeLog(), fetch }
  return observe(execSource, { command: [process.execPath, '-e', script], timeout }, context)
}

async function codeOf(looked: ReturnType<typeof look>): Promise<string | undefined> {
  const observation = await looked
  return observation.outcome === 'failed' ? observation.error.code : observation.outcome
}

test('a program that prints a node name a line lists them', async () => {
  assert.deepEqual(await look(`console.log(' ${B} \\n\\n${C}')`), {
    source: 'exec',
    at: 1_000,
    outcome: 'complete',
    members: [
      { node: B, status: 'up' },
      { node: C, status: 'up' },
    ],
  })
})

test('nothing printed and exit 0 means nobody', async () => {
  const observation = await look('')
  assert.deepEqual(observation, { source: 'exec', at: 1_000, outcome: 'complete', members: [] })
})

test('an exit other than 0 is a failure that cites what the program said, whatever it printed', async () => {
  const observation = await look(`console.log('${B}'); console.error('no such stack\\nmore'); process.exitCode = 3`)
  assert.equal(observation.outcome, 'failed')
  assert.match(observation.outcome === 'failed' ? observation.error.message : '', /exit with 0, got 3: no such stack$/)
})

test('a program that is not there is a failure', async () => {
  const context = { source: 's', signal: new AbortController().signal, now: () => 1, log: createFakeLog(), fetch }
  const observation = await observe(execSource, { command: ['/no/such/program'], timeout: 1_000 }, context)
  assert.equal(observation.outcome === 'failed' && observation.error.code, 'program_not_found')
})

test('a program that is killed is a failure', async () => {
  assert.equal(await codeOf(look(`console.log('${B}'); process.kill(process.pid, 'SIGKILL')`)), 'program_failed')
})

test('too much output is a failure', async () => {
  const flood = `const line = '${B}\\n'.repeat(10_000); for (;;) require('fs').writeSync(1, line)`
  assert.equal(await codeOf(look(flood)), 'program_output')
})

test('the shell has no say in the arguments', async () => {
  const context = { source: 's', signal: new AbortController().signal, now: () => 1, log: createFakeLog(), fetch }
  const script = 'process.exitCode = process.argv[1] === "$(id); `id` | cat" ? 0 : 1'
  const command = [process.execPath, '-e', script, '$(id); `id` | cat']
  assert.equal((await observe(execSource, { command, timeout: 30_000 }, context)).outcome, 'complete')
})

/** A program that heeds no SIGTERM, with a child that does not either; it says their pids on stderr when both are deaf. */
const DEAF = `
  const { spawn } = require('child_process')
  process.on('SIGTERM', () => {})
  const child = spawn(process.execPath, ['-e', 'process.on("SIGTERM", () => {}); console.log("deaf"); setInterval(() => {}, 1e6)'])
  child.stdout.once('data', () => require('fs').writeFileSync(process.env.ROLLCALL_TEST_PIDS, process.pid + ' ' + child.pid))
  setInterval(() => {}, 1e6)`

test('a program that heeds no SIGTERM is killed on abort, and what it started with it', async (t) => {
  const { mkdtemp, readFile, rm, watch } = await import('node:fs/promises')
  const folder = await mkdtemp('/tmp/rollcall-exec-')
  t.after(() => rm(folder, { recursive: true }))
  process.env.ROLLCALL_TEST_PIDS = `${folder}/pids`
  t.after(() => delete process.env.ROLLCALL_TEST_PIDS)
  const changes = watch(folder)
  const ended = new AbortController()
  const looked = look(DEAF, { signal: ended.signal })
  let pids: number[] = []
  for await (const _change of changes) {
    pids = (await readFile(`${folder}/pids`, 'utf8').catch(() => '')).split(' ').filter(Boolean).map(Number)
    if (pids.length === 2) break
  }
  ended.abort(new Error('enough'))
  const observation = await looked
  assert.equal(observation.outcome === 'failed' && observation.error.message, 'enough')
  for (const pid of pids) await until(() => !isAlive(pid))
})

test('a program that takes too long is ended and a failure', async () => {
  assert.equal(await codeOf(look('setInterval(() => {}, 1e6)', { timeout: 50 })), 'timeout')
})

test('a signal that is aborted already runs nothing', async () => {
  assert.equal(
    await codeOf(look('process.exitCode = 9', { signal: AbortSignal.abort(new Error('ended')) })),
    'internal',
  )
})

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch {
    return false
  }
  // A process that has ended and whose parent has not asked yet is no process any more.
  return !/^\d+ \(.*\) Z/.test(readStat(pid))
}

function readStat(pid: number): string {
  try {
    return process.getBuiltinModule('node:fs').readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return '0 (gone) Z'
  }
}

async function until(condition: () => boolean): Promise<void> {
  const { setImmediate: turn } = await import('node:timers/promises')
  while (!condition()) await turn()
}

const table: [what: string, text: string, expected: unknown][] = [
  ['JSON names', `["${B}","${C}"]`, [B, C]],
  ['JSON members', `[{"node":"${B}","status":"leaving","id":"7"}]`, [B]],
  ['JSON members without a status', `[{"node":"${B}"}]`, [B]],
  ['an object with members', `{"members":["${B}"],"revision":1}`, [B]],
  ['an empty JSON list', ' [] ', []],
  ['Windows line ends', `${B}\r\n${C}\r\n`, [B, C]],
]
for (const [what, text, expected] of table) {
  test(`${what} can be read`, () => {
    const answer = parseOutput(text)
    assert.equal(answer.outcome, 'complete')
    assert.deepEqual(
      answer.members.map(({ node }) => node),
      expected,
    )
  })
}

test('of JSON members everything is kept', () => {
  const member = { node: B, status: 'leaving', id: '7', address: { host: '10.0.0.2', port: 4370 }, meta: { zone: 'a' } }
  assert.deepEqual(parseOutput(JSON.stringify([member])).members, [member])
})

test('an entry that is no member makes the answer partial, and the rest is kept', () => {
  for (const text of [`${B}\nwarning: one is down\n`, `["${B}", {"name":"x"}]`, `["${B}", null]`]) {
    const answer = parseOutput(text)
    assert.equal(answer.outcome, 'partial', text)
    assert.deepEqual(answer.members, [{ node: B, status: 'up' }])
  }
})

for (const text of ['Error: no credentials', '{"error":"denied"}', '[', '{"members":{}}', '[1,2]', 'null']) {
  test(`output that says nothing, like ${text}, is a failure and no empty answer`, () => {
    assert.throws(() => parseOutput(text), { code: 'bad_output' })
  })
}

/** A world in which the program is this script of Node. */
const script = (text: string, more: Omit<World, 'options'> = {}): World => ({
  options: { command: [process.execPath, '-e', text] },
  ...more,
})

/** A script that hangs in a world of its own, and says when it does. */
async function hanging(t: TestContext): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), 'rollcall-exec-'))
  t.after(() => rm(folder, { recursive: true }))
  const file = join(folder, 'asked')
  const text = `require('fs').writeFileSync(${JSON.stringify(file)}, 'asked'); setInterval(() => {}, 1e6)`
  const ended = new AbortController()
  t.after(() => ended.abort())
  const changes = watch(folder, { signal: ended.signal })
  return script(text, { asked: changes.next().catch(() => undefined) })
}

sourceContract({
  name: 'exec',
  kind: 'exec',
  load: () => execSource,
  self: B,
  good: { command: ['true'], timeout: '5s', name: 'members' },
  bad: { command: 'ls -l', timeout: 'soon', name: 5 },
  lists: () => script(`console.log('${C}\\n${B}\\n${C}')`, { nodes: [B, C] }),
  nobody: () => ({ options: { command: ['true'] } }),
  flawed: {
    'a line that is no name': () => script(`console.log('${B}\\nwarning: no route to ${C}\\n')`, { nodes: [B] }),
    'a name without host': () => script(`console.log('["${B}", "c@"]')`, { nodes: [B] }),
    'a member of a wrong type': () => script(`console.log('["${B}", {"node":7}, null, [[]]]')`, { nodes: [B] }),
    'a name with a NUL byte': () => script(`console.log('${B}\\nc@10.0.0.3\\0')`, { nodes: [B] }),
  },
  failing: {
    'an exit of 1': () => script('process.exitCode = 1', { code: 'program_failed' }),
    'a signal': () => script(`process.kill(process.pid, 'SIGKILL')`, { code: 'program_failed' }),
    'a program that is missing': () => ({ options: { command: ['/no/such/program'] }, code: 'program_not_found' }),
    'no end in time': () => ({
      options: { command: [process.execPath, '-e', 'setInterval(() => {}, 1e6)'], timeout: '50ms' },
      code: 'timeout',
    }),
    ...Object.fromEntries(
      Object.entries(BAD_BODIES).flatMap(([what, body]) =>
        // A program that prints nothing says nobody.
        body === ''
          ? []
          : [[what, () => script(`process.stdout.write(${describeBody(body)})`, { code: 'bad_output' })]],
      ),
    ),
  },
  hangs: hanging,
  floods: () => script(`for (;;) require('fs').writeSync(1, '${B}\\n'.repeat(10_000))`, { code: 'program_output' }),
})

/** A body as an expression: an argument has at most 128 KiB. */
function describeBody(body: string): string {
  const [first = ''] = body
  return body.startsWith(first.repeat(64)) && body === first.repeat(body.length)
    ? `${JSON.stringify(first)}.repeat(${body.length})`
    : JSON.stringify(body)
}
