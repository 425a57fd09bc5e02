import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { text } from 'node:stream/consumers'

test('a real agent on real time dials, logs JSON lines, and leaves nothing open when it stops', async (t) => {
  const folder = await mkdtemp('/tmp/rollcall-agent-')
  t.after(() => rm(folder, { recursive: true }))
  const program = new URL('whole-agent.ts', import.meta.url).pathname
  const child = spawn(process.execPath, [program, folder, String(await freePort())], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.after(() => child.kill('SIGKILL'))
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')])

  assert.equal(code, 0, stderr)
  const { status, open } = JSON.parse(stdout) as { status: number; open: string[] }
  assert.equal(status, 200)
  // Pipes are the program's own stdout and stderr.
  assert.deepEqual(
    open.filter((kind) => kind !== 'PipeWrap'),
    [],
  )
  const lines = stderr
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { level: number; type: string; node?: string })
  assert.ok(
    lines.some(({ type, node }) => type === 'nodeup' && node === 'b@10.0.0.2'),
    stderr,
  )
  const state = JSON.parse(await readFile(`${folder}/state.json`, 'utf8'))
  assert.deepEqual(state.topologies.web.sources.exec.listed, ['b@10.0.0.2'])
})

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
