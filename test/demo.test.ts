import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createServer } from 'node:net'
import { after, describe, it, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { freePorts } from '../demo/free-ports.ts'
import type { Mesh } from '../demo/mesh.ts'
import { playStory } from '../demo/story.ts'
import { clip, COLUMNS, drawTable } from '../demo/table.ts'
import { countLosses, describeNode, missing, type NodeView } from '../demo/view.ts'

const DEMO = fileURLToPath(new URL('../demo/demo.ts', import.meta.url))
const NOW = 1_000_000
const plain = (_style: string, text: string) => text

/** A node that is linked to whom it should be, with changes. */
function node(name: string, changes: Partial<NodeView> = {}): NodeView {
  const links = ['ada', 'bob', 'cyd'].filter((peer) => peer !== name)
  const plan = { connect: [], disconnect: [], hold: [] }
  return { name, pid: 4711, links, losses: [], isInEpmd: true, servesEpmd: name === 'ada', plan, ...changes }
}

describe('the table of the demo', () => {
  it('shows who is linked to whom, who serves epmd, and what the plans hold and why', () => {
    const waits = {
      connect: [],
      disconnect: [],
      hold: [{ node: 'cyd@h', reason: 'backoff' as const, until: NOW + 2_100 }],
    }
    const nodes = [
      node('ada', { links: ['bob'], plan: waits }),
      node('bob', { pid: 4_194_304, links: ['ada'], plan: undefined }),
      node('cyd', { pid: undefined, links: [], isInEpmd: false }),
    ]
    assert.deepEqual(drawTable(nodes, { now: NOW, paint: plain }), [
      ' node      pid  ada bob cyd  epmd        plan',
      ' ada      4711   ·   ●   ○   serves it   hold cyd: backoff, 3 s',
      ' bob   4194304   ●   ·   ○   registered  no plan yet',
      ' cyd      gone               -',
    ])
  })

  it('tells alike steps of a plan together, and no time that has passed', () => {
    const plan = {
      connect: [{ node: 'ada@h', attempt: 1, reason: 'new' as const }],
      disconnect: [],
      hold: ['bob@h', 'cyd@h'].map((peer) => ({ node: peer, reason: 'dialling' as const, until: NOW - 1 })),
    }
    const [, row] = drawTable([node('dee', { plan })], { now: NOW, paint: plain })
    assert.match(row ?? '', /connect ada: new; hold bob cyd: dialling$/)
  })

  it('fits 80 columns, whatever the plans say', () => {
    const names = ['ada', 'bob', 'cyd', 'dee', 'eve']
    const hold = names.map((name) => ({ node: `${name}@h`, reason: 'source_failed' as const, until: NOW + 1e9 }))
    const nodes = names.map((name) => node(name, { pid: 4_194_304, plan: { connect: [], disconnect: [], hold } }))
    const lines = drawTable(nodes, { now: NOW, paint: plain })
    assert.deepEqual(
      lines.slice(1).map(({ length }) => length),
      names.map(() => COLUMNS),
    )
    assert.ok(lines.every((line) => line.length <= COLUMNS))
    assert.equal(clip('x'.repeat(81)), `${'x'.repeat(79)}…`)
  })

  it('paints nothing but what it is given to paint', () => {
    const painted = drawTable([node('ada')], { now: NOW, paint: (style, text) => `<${style}>${text}</>` })
    const bare = painted.map((line) => line.replaceAll(/<[^>]*>/g, '').trimEnd())
    assert.deepEqual(bare, drawTable([node('ada')], { now: NOW, paint: plain }))
  })
})

describe('the mesh of the demo', () => {
  const names = ['ada', 'bob', 'cyd']

  it('is whole when all are linked to all, one serves epmd, and all are in it', () => {
    assert.deepEqual(
      missing(
        names.map((name) => node(name)),
        names,
      ),
      [],
    )
  })

  it('is not whole while anything is missing, and says what', () => {
    const nodes = [
      node('ada', { servesEpmd: false }),
      node('bob', { isInEpmd: false, links: ['ada'] }),
      node('cyd', { pid: undefined }),
    ]
    assert.deepEqual(missing(nodes, names), [
      'bob is not linked to cyd',
      'epmd does not know bob',
      'cyd does not run',
      'nobody serves epmd',
    ])
    assert.deepEqual(missing([node('ada'), node('bob', { links: ['ada'] })], ['ada', 'bob']), [
      'ada is still linked to cyd',
    ])
  })

  it('counts the links that some lost to some others', () => {
    const before = [node('ada', { losses: ['bob'] }), node('bob', { losses: ['cyd'] })]
    const after = [node('ada', { losses: ['bob', 'cyd'] }), node('bob', { losses: ['cyd', 'cyd', 'ada'] })]
    const among = { from: ['ada', 'bob'], to: ['ada', 'bob'] }
    assert.equal(countLosses([before, after], among), 1)
    assert.equal(countLosses([before, before], among), 0)
    assert.equal(countLosses([before, after], { from: ['ada'], to: ['cyd'] }), 1)
  })

  it('is told in words that stay the same while a node waits', () => {
    const hold = (until: number) => [{ node: 'cyd@h', reason: 'backoff' as const, until }]
    const [earlier, later] = [1, 2].map((until) =>
      describeNode(node('ada', { plan: { connect: [], disconnect: [], hold: hold(until) } })),
    )
    assert.equal(earlier, 'ada (pid 4711) linked to bob cyd, serves epmd, hold cyd: backoff')
    assert.equal(later, earlier)
  })
})

describe('the story of the demo', () => {
  /** A mesh of ada, bob and cyd in which everything happens at once. */
  function createFakeMesh({ lostByBob = ['ada'] } = {}): Mesh {
    const running = new Set<string>()
    const gone = new Set<string>()
    const look = (name: string) => {
      if (!running.has(name)) return node(name, { pid: undefined, links: [], servesEpmd: false })
      const links = [...running].filter((peer) => peer !== name)
      const losses = gone.size === 0 ? [] : name === 'bob' ? lostByBob : ['ada']
      return node(name, { links, losses, servesEpmd: name === (gone.size === 0 ? 'ada' : 'bob') })
    }
    const program = { pid: 1, isRunning: true, end: '', kill: async () => {}, stop: async () => {} }
    return {
      url: 'http://127.0.0.1:1',
      folder: '/nowhere',
      startFunction: async () => program,
      startNode: (name) => void running.add(name),
      async kill(name) {
        running.delete(name)
        gone.add(name)
      },
      look: async () => ['ada', 'bob', 'cyd'].map(look),
      endOf: () => '',
      end: async () => {},
    }
  }

  function play(mesh: Mesh) {
    const told: string[] = []
    const screen = {
      readingMs: 0,
      show: () => {},
      tell: (sentence: string) => void told.push(sentence),
      close: () => {},
    }
    const { signal } = new AbortController()
    return { told, played: playStory({ mesh, names: ['ada', 'bob', 'cyd'], screen, signal }) }
  }

  it('is told to its end when the others stay linked', async () => {
    const { told, played } = play(createFakeMesh())
    await played
    assert.match(told.join('\n'), /kills ada.*healed after \d+ ms: bob serves epmd.*starts ada again\nwhole again/s)
  })

  it('fails when a link between two others was lost, though it is back', async () => {
    const { played } = play(createFakeMesh({ lostByBob: ['ada', 'cyd'] }))
    await assert.rejects(played, { code: 'not_healed', message: /the links among bob, cyd to stand, got 1 that ended/ })
  })
})

test('the demo takes no port that somebody listens at', async (t) => {
  const [first = 0, second = 0] = await freePorts(2)
  const server = createServer().listen(first, '127.0.0.1')
  t.after(() => server.close())
  await once(server, 'listening')
  const [next] = await freePorts(1)
  assert.ok(next !== first && next !== undefined && next <= second, `${first} ${second} ${next}`)
})

describe('npm run demo', () => {
  const running = new Set<ChildProcess>()
  after(() => running.forEach((child) => child.kill('SIGKILL')))

  function start(...args: string[]) {
    const child = spawn(process.execPath, [DEMO, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    running.add(child)
    const said = { stdout: '', stderr: '' }
    const { promise: formed, resolve } = Promise.withResolvers<void>()
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream].setEncoding('utf8').on('data', (chunk: string) => {
        said[stream] += chunk
        if (/formed after/.test(said.stdout)) resolve()
      })
    }
    const ended = new Promise<typeof said & { code: number | null }>((resolve, reject) => {
      child.on('error', reject)
      child.on('close', (code) => {
        running.delete(child)
        resolve({ code, ...said })
      })
    })
    return { child, formed, ended }
  }

  /** Every process that it has told of, and its folder. */
  function assertNothingIsLeft(stdout: string, { processes }: { processes: number }): void {
    const pids = new Set([...stdout.matchAll(/pid (\d+)/g)].map(([, pid]) => Number(pid)))
    assert.equal(pids.size, processes, stdout)
    for (const pid of pids) assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' }, `${pid} still runs`)
    const [, folder = ''] = /the configs are in (\S+)/.exec(stdout) ?? []
    assert.notEqual(folder, '')
    assert.equal(existsSync(folder), false)
  }

  it('forms a mesh, loses the node that serves epmd, heals, is whole again, and ends by itself', async () => {
    const { code, stdout, stderr } = await start('--for', '20s').ended
    assert.deepEqual([code, stderr], [0, ''], stdout)
    const story =
      /starts the function.*answers at http:.*starts 5 nodes.*formed after \d+ ms.*and (\w+) serves epmd.*kills \1, which serves epmd.*\1 is gone.*healed after \d+ ms: (?!\1)(\w+) serves epmd, and the other links stood.*starts \1 again.*whole again after \d+ ms.*ended: /s
    assert.match(stdout, story)
    assert.ok(!stdout.includes('\x1b'))
    assertNothingIsLeft(stdout, { processes: 7 })
  })

  it('ends cleanly at Ctrl-C', async () => {
    const { child, formed, ended } = start()
    await Promise.race([formed, ended])
    child.kill('SIGINT')
    const { code, stdout, stderr } = await ended
    assert.deepEqual([code, stderr], [0, ''], stdout)
    assertNothingIsLeft(stdout, { processes: 6 })
  })

  it('says what was missing when the time was too short', async () => {
    const { code, stderr } = await start('--for', '10ms').ended
    assert.equal(code, 1)
    assert.match(stderr, /^\[demo\] expected a mesh that formed and healed in time, missing: ada does not run, /)
  })

  it('explains itself, and its wrong use', async () => {
    const [help, wrong] = await Promise.all([start('--help').ended, start('--for', 'soon').ended])
    assert.deepEqual([help.code, wrong.code], [0, 2])
    assert.match(help.stdout, /^npm run demo \[-- --for 20s\]/)
    assert.match(wrong.stderr, /^\[demo\] expected --for 20s, got soon\n/)
  })
})
