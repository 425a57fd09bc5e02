import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { type TestContext, test } from 'node:test'
import { createAgent } from '../../agent/agent.ts'
import { createStateWriter, readState, writeState } from '../../agent/state-file.ts'
import { plan } from '../../core/plan.ts'
import { defaultPolicy } from '../../core/policy.ts'
import { emptyState, type State } from '../../core/state.ts'
import { complete, configOf, createFakeLog, createFakeMesh, listing } from './fakes.ts'
import { createManualClock } from './manual-clock.ts'

const SELF = 'a@10.0.0.1'
const B = 'b@10.0.0.2'

async function folderOf(t: TestContext): Promise<string> {
  const folder = await mkdtemp('/tmp/rollcall-state-')
  t.after(() => rm(folder, { recursive: true }))
  return folder
}

function stateOf(now = 1_000): State {
  const observations = [complete('s', now, [SELF, B])]
  const web = { sources: ['s'], intervalMs: 5_000, policy: { ...defaultPolicy }, observations }
  return plan(undefined, { self: SELF, now, links: [], topologies: { web } }).state
}

test('what was written is read again, and only its owner may read it', async (t) => {
  const file = `${await folderOf(t)}/state.json`
  const log = createFakeLog()
  await writeState(file, emptyState(SELF, 1))
  await writeState(file, stateOf())
  assert.deepEqual(await readState(file, log), stateOf())
  assert.equal((await stat(file)).mode & 0o777, 0o600)
  assert.deepEqual(log.lines, [])
})

test('a file that others could read is replaced by one that they cannot', async (t) => {
  const file = `${await folderOf(t)}/state.json`
  await writeFile(file, '{}', { mode: 0o644 })
  await writeState(file, stateOf())
  assert.equal((await stat(file)).mode & 0o777, 0o600)
})

test('no file is no state, and no warning', async (t) => {
  const log = createFakeLog()
  assert.equal(await readState(`${await folderOf(t)}/none.json`, log), undefined)
  assert.deepEqual(log.lines, [])
})

for (const text of ['', '{"version":1', '[]', '"state"', '{"version":1,"self":"a@h"}', 'null']) {
  test(`a file with ${JSON.stringify(text)} is a warning and no state`, async (t) => {
    const file = `${await folderOf(t)}/state.json`
    const log = createFakeLog()
    await writeFile(file, text)
    assert.equal(await readState(file, log), undefined)
    assert.equal(log.lines.length, 1)
    assert.match(log.lines[0] ?? '', /^warn/)
  })
}

test('a state of another version is for the plan to discard', async (t) => {
  const file = `${await folderOf(t)}/state.json`
  await writeFile(file, JSON.stringify({ ...stateOf(), version: 7 }))
  const state = await readState(file, createFakeLog())
  const { events } = plan(state, { self: SELF, now: 2_000, links: [], topologies: {} })
  assert.deepEqual(
    events.map(({ type }) => type),
    ['state_discarded'],
  )
})

test('a file that cannot be read is an error: its memory must not be overwritten', async (t) => {
  await assert.rejects(readState(await folderOf(t), createFakeLog()), { code: 'state_unreadable' })
})

test('a write that fails leaves the file as it was and nothing beside it', async (t) => {
  const folder = await folderOf(t)
  await mkdir(`${folder}/state.json`)
  await assert.rejects(writeState(`${folder}/state.json`, stateOf()), { code: 'state_not_written' })
  assert.deepEqual(await readdir(folder), ['state.json'])
})

test('of many states the first and the last are written, one a second', async (t) => {
  const file = `${await folderOf(t)}/state.json`
  const clock = createManualClock()
  const ended = new AbortController()
  t.after(() => ended.abort())
  const writer = createStateWriter(file, { signal: ended.signal, clock, log: createFakeLog() })
  for (let now = 1; now <= 100; now++) writer.offer(emptyState(SELF, now))
  await written(file, 1)
  await clock.advance(1_000)
  await written(file, 100)
})

test('flush writes what was not written yet', async (t) => {
  const file = `${await folderOf(t)}/state.json`
  const ended = new AbortController()
  const writer = createStateWriter(file, { signal: ended.signal, clock: createManualClock(), log: createFakeLog() })
  writer.offer(emptyState(SELF, 1))
  writer.offer(emptyState(SELF, 2))
  ended.abort()
  await writer.flush()
  assert.deepEqual(await readState(file, createFakeLog()), emptyState(SELF, 2))
})

test('a disk that takes nothing is one warning until it does again', async (t) => {
  const folder = await folderOf(t)
  const log = createFakeLog()
  const ended = new AbortController()
  ended.abort()
  const writer = createStateWriter(`${folder}/later/state.json`, {
    signal: ended.signal,
    clock: createManualClock(),
    log,
  })
  for (let now = 1; now <= 3; now++) {
    writer.offer(emptyState(SELF, now))
    await writer.flush()
  }
  assert.equal(log.lines.length, 1)
  await mkdir(`${folder}/later`)
  writer.offer(emptyState(SELF, 4))
  await writer.flush()
  assert.equal(log.lines.length, 1)
  assert.deepEqual(await readdir(`${folder}/later`), ['state.json'])
})

test('an agent goes on from the state that an earlier one left', async (t) => {
  const file = `${await folderOf(t)}/state.json`
  const mesh = createFakeMesh(SELF)
  for (const expected of [['member_listed', 'member_listed', 'nodeup'], ['nodeup']]) {
    const { config, loadSource } = configOf({ s: listing(() => [SELF, B]) }, { agent: { state: file } })
    const agent = createAgent(config, { log: createFakeLog(), distribution: mesh, loadSource })
    t.after(() => agent.stop())
    const seen: string[] = []
    agent.on('*', ({ type }) => void seen.push(type))
    await agent.discover()
    await agent.stop()
    assert.deepEqual(seen.sort(), expected)
  }
  const state = await readState(file, createFakeLog())
  assert.deepEqual(state?.topologies.web?.sources.s?.listed, [SELF, B])
})

async function written(file: string, at: number): Promise<void> {
  for (;;) {
    const text = await readFile(file, 'utf8').catch(() => '')
    if (text !== '' && (JSON.parse(text) as State).at === at) return
  }
}
