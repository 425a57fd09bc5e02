import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { type TestContext, test } from 'node:test'
import { createExecDistribution } from '../../../agent/distributions/exec.ts'

const SELF = 'a@10.0.0.1'
const [B, C] = ['b@10.0.0.2', 'c@10.0.0.3'] as const
const { signal } = new AbortController()

/** A mesh that keeps each link as a file, and notes its calls in another. */
async function setUp(t: TestContext, { list = `ls $0/links` } = {}) {
  const folder = await mkdtemp('/tmp/rollcall-mesh-')
  t.after(() => rm(folder, { recursive: true }))
  await mkdir(`${folder}/links`)
  const note = 'echo $1 $2 $3 >>$0/calls'
  const mesh = createExecDistribution(
    {
      connect: ['sh', '-c', `${note}; touch $0/links/$1`, folder, '{node}', '{host}', 'p{port}'],
      disconnect: ['sh', '-c', `${note}; rm $0/links/$1`, folder, '{node}', '{host}'],
      list: ['sh', '-c', list, folder],
    },
    { self: SELF },
  )
  const calls = async () => (await readFile(`${folder}/calls`, 'utf8')).trimEnd().split('\n')
  return { mesh, calls }
}

test('connect, list and disconnect run the programs with node, host and port filled in', async (t) => {
  const { mesh, calls } = await setUp(t)
  assert.deepEqual(await mesh.list(), [])
  await mesh.connect(B, { address: { host: '192.0.2.7', port: 4370 }, signal })
  await mesh.connect(C, { address: { host: '192.0.2.8', port: 4371 }, signal })
  assert.deepEqual(await mesh.list(), [B, C])
  await mesh.disconnect(B, { reason: 'absent', signal })
  assert.deepEqual(await mesh.list(), [C])
  assert.deepEqual(await calls(), [`${B} 192.0.2.7 p4370`, `${C} 192.0.2.8 p4371`, `${B} 10.0.0.2`])
})

test('a port that no source tells is an error and not an empty argument', async (t) => {
  const { mesh } = await setUp(t)
  await assert.rejects(mesh.connect(B, { signal }), { code: 'no_address' })
})

test('a node name cannot become an option of the program', async () => {
  const mesh = createExecDistribution(
    { connect: ['true', '{node}'], disconnect: ['true', '--node={node}'], list: ['true'] },
    { self: SELF },
  )
  await assert.rejects(mesh.connect('--eval@10.0.0.2', { signal }), { code: 'bad_node_name' })
  await mesh.disconnect('--eval@10.0.0.2', { reason: 'absent', signal })
})

test('a program that fails is an error with its words', async () => {
  const mesh = createExecDistribution(
    { connect: ['sh', '-c', 'echo refused >&2; exit 1'], disconnect: ['false'], list: ['false'] },
    { self: SELF },
  )
  await assert.rejects(mesh.connect(B, { signal }), { code: 'program_failed', message: /got 1: refused/ })
  await assert.rejects(mesh.disconnect(B, { reason: 'absent', signal }), { code: 'program_failed' })
  await assert.rejects(mesh.list(), { code: 'program_failed' })
})

test('a list with anything but node names is an error: a link that is misread would look lost', async (t) => {
  const { mesh } = await setUp(t, { list: `echo ${B}; echo 'connection reset'` })
  await assert.rejects(mesh.list(), { code: 'bad_output' })
})

test('the own name is no link', async (t) => {
  const { mesh } = await setUp(t, { list: `echo ${SELF}; echo ${B}` })
  assert.deepEqual(await mesh.list(), [B])
})

test('to leave, every link is cut', async (t) => {
  const { mesh } = await setUp(t)
  for (const node of [B, C]) await mesh.connect(node, { address: { host: 'h', port: 1 }, signal })
  await mesh.leave()
  assert.deepEqual(await mesh.list(), [])
})

test('close ends what is under way', async () => {
  const mesh = createExecDistribution(
    { connect: ['true'], disconnect: ['true'], list: ['sleep', '100'] },
    { self: SELF },
  )
  const listing = mesh.list()
  await mesh.close()
  await assert.rejects(listing)
})

// Seen with ten thousand dials at once: a process that cannot be made has no pipes, and its error ended the agent.
test('a machine without room for another process fails the call and not the agent', () => {
  const program = new URL('../../../agent/program.ts', import.meta.url).href
  const script = `
    const { runProgram } = await import(${JSON.stringify(program)})
    const run = () => runProgram(['sleep', '1'], { part: 'test', signal: new AbortController().signal, timeoutMs: 10_000 })
    const ends = await Promise.allSettled(Array.from({ length: 100 }, run))
    console.log(JSON.stringify([...new Set(ends.map(({ status, reason }) => reason?.code ?? status))].sort()))`
  const shell = ['-c', 'ulimit -n 100; exec "$0" --input-type=module -e "$1"', process.execPath, script]
  const printed = execFileSync('sh', shell, { encoding: 'utf8' })
  assert.deepEqual(JSON.parse(printed), ['fulfilled', 'program_failed'])
})
