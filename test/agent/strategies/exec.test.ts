import assert from 'node:assert/strict'
import { test } from 'node:test'
import { execSource, parseOutput } from '../../../agent/strategies/exec.ts'
import { observe } from '../../../functions/resolvers/source.ts'
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
