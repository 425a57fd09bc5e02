import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { after, before, suite, test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { systemClock } from '../../agent/clock.ts'
import { lookUpPort, registeredNames } from '../../agent/beam/epmd.ts'
import { type EpmdServer, serveEpmd } from '../../agent/beam/epmd-server.ts'
import { type Registration, register } from '../../agent/beam/registration.ts'
import { alive, ask, framed, say } from '../agent/beam/epmd-wire.ts'
import { createFakeLog } from '../agent/fakes.ts'
import { type Epmd, freePort, type Peer, startEpmd, startErl } from './erlang.ts'
import { missingPrograms } from './programs.ts'
import { until } from './until.ts'

const host = '127.0.0.1'
const run = promisify(execFile)

function serve(port: number): Promise<EpmdServer> {
  return serveEpmd({ port, addresses: [], log: createFakeLog() })
}

async function start(t: TestContext, basename: string, epmdPort: number): Promise<Registration> {
  const registration = await register({
    basename,
    port: 4_000,
    hidden: true,
    epmd: { host, port: epmdPort, addresses: [] },
    signal: new AbortController().signal,
    clock: systemClock,
    log: createFakeLog(),
  })
  t.after(() => registration.close())
  return registration
}

suite('Our epmd and the real one', { skip: missingPrograms('erl'), timeout: 60_000 }, () => {
  let real: Epmd
  let ours: EpmdServer
  const held: (() => void)[] = []

  before(async () => {
    real = await startEpmd({ address: host })
    ours = await serve(0)
    for (const { port } of [real, ours]) {
      const visible = await say(port, alive('a', { port: 40_497 }))
      const hidden = await say(port, alive('x', { port: 0, high: 5, extra: 'more\0' }))
      await Promise.all([visible.heard(6), hidden.heard(4)])
      held.push(() => [visible, hidden].forEach(({ socket }) => socket.destroy()))
    }
  })
  after(async () => {
    for (const release of held) release()
    await ours.close()
    await real.stop()
  })

  /** What an epmd answers and whether it goes on listening, less what is its own: its port, its creations, its file descriptors. */
  async function behave(port: number, request: Uint8Array): Promise<string> {
    const { socket, whole } = await say(port, request)
    let answer: Buffer | undefined
    void whole.then((all) => (answer = all))
    const heard: Buffer[] = []
    socket.on('data', (chunk: Buffer) => heard.push(chunk))
    // Who was asked later has answered, twice: so is the first by now, if ever.
    for (let count = 0; count < 2; count++) await ask(port, framed('n'))
    const end = answer === undefined ? 'stays open' : 'closes'
    socket.destroy()
    if (!socket.closed) await once(socket, 'close')
    return `${JSON.stringify(readable(answer ?? Buffer.concat(heard), port))} ${end}`
  }

  function readable(answer: Buffer, port: number): string {
    const result = answer.toString('latin1', 0, 2)
    if (result === 'v\0' && answer.readUInt32BE(2) > 3) return 'v, registered'
    if (result === 'y\0' && [1, 2, 3].includes(answer.readUInt16BE(2))) return 'y, registered'
    const own = Buffer.alloc(4)
    own.writeUInt32BE(port)
    const text = answer.toString('latin1')
    return text.replace(own.toString('latin1'), 'PORT').replace(/fd = \d+/g, 'fd')
  }

  for (const [what, request, expected] of [
    ['the names', framed('n'), /x at port 0.*a at port 40497.*closes/],
    ['the names, with bytes that nobody wants', framed('n and more'), /PORT.*closes/],
    ['a dump', framed('d'), /<a> at port 40497, fd.*closes/],
    ['a port', framed('za'), /^"w\\u0000.*closes/],
    ['a port, with a zero at the end', framed('za\0'), /^"w\\u0000.*closes/],
    ['a port with an extra', framed('zx'), /more.*closes/],
    ['the port of nobody', framed('zq'), /^"w\\u0001" closes/],
    ['the port of no name', framed('z'), /^"" closes/],
    ['the port of a zero', framed('z\0'), /^"" closes/],
    ['a port with a zero inside', framed('za\0b'), /^"" closes/],
    ['a port of two zeros at the end', framed('za\0\0'), /^"" closes/],
    ['the port of a name of 254 characters', framed(`z${'n'.repeat(254)}`), /^"w\\u0001" closes/],
    ['the port of a name of 255 characters', framed(`z${'n'.repeat(255)}`), /^"" closes/],
    ['the port of a name in UTF-8', framed('zné'), /^"w\\u0001" closes/],
    ['the port of a name in Latin-1', framed('zn', Buffer.from([0xe9])), /^"" closes/],
    ['a registration', alive('new'), /^"v, registered" stays/],
    ['a registration before version 6', alive('new', { high: 5 }), /^"y, registered" stays/],
    ['a registration of a version to come', alive('new', { high: 7 }), /^"v, registered" stays/],
    ['a registration with an extra', alive('new', { extra: 'e'.repeat(1_020) }), /registered" stays/],
    ['a registration with too much extra', alive('new', { extra: 'e'.repeat(1_021) }), /^"v\\u0001.*stays/],
    ['a registration of a name that is taken', alive('a'), /^"v\\u0001\\u0000\\u0000\\u0000c" stays/],
    ['an old registration of a name that is taken', alive('a', { high: 5 }), /^"y\\u0001\\u0000c" stays/],
    ['a name with spaces', alive('a b c'), /registered" stays/],
    ['a name with a line end', alive('a\nb'), /registered" stays/],
    ['a name with a zero', alive('a\0b'), /^"" closes/],
    ['a name in UTF-8', alive('né'), /registered" stays/],
    ['a name in Latin-1', alive(Buffer.from([0x6e, 0xe9])), /^"v\\u0001.*stays/],
    ['a name with half a pair', alive(Buffer.from([0xed, 0xa0, 0x80])), /^"v\\u0001.*stays/],
    ['a name of 255 characters', alive('n'.repeat(255)), /registered" stays/],
    ['a name of 256 characters', alive('n'.repeat(256)), /^"v\\u0001.*stays/],
    ['a name of 255 characters of 4 bytes', alive('𝄞'.repeat(255)), /registered" stays/],
    ['a name of 1,021 bytes', alive('n'.repeat(1_021)), /^"v\\u0001.*stays/],
    ['no name', alive(''), /^"" closes/],
    ['no name, and an extra', alive('', { extra: 'e' }), /registered" stays/],
    ['a name beyond the end', alive('abc', { nameLength: 30 }), /^"" closes/],
    ['a name of 65,535 bytes, so it says', alive('abc', { nameLength: 65_535 }), /^"" closes/],
    ['a name that ends where the extra begins', alive('abc', { nameLength: 4 }), /^"" closes/],
    ['a name shorter than it is', alive('abc', { nameLength: 2 }), /^"" closes/],
    ['an extra beyond the end', alive('abc', { extraLength: 30 }), /^"" closes/],
    ['an extra shorter than it is', alive('abc', { extra: 'long', extraLength: 2 }), /registered" stays/],
    ['a registration cut in its name', alive('abcdef').subarray(0, 16), /^"" stays/],
    ['a kill', framed('k'), /^"NO" closes/],
    ['a stop', framed('sa'), /^"" closes/],
    ['an unknown request', framed('?'), /^"" closes/],
    ['an answer', framed('y\0\0\x01'), /^"" closes/],
    ['the length 0', Buffer.from([0, 0]), /^"" closes/],
    ['the length 65,535', Buffer.from([0xff, 0xff, 110]), /^"" closes/],
    ['3,057 bytes', framed('n'.repeat(3_057)), /PORT.*closes/],
    ['3,058 bytes', framed('n'.repeat(3_058)), /^"" closes/],
    ['less than the length', Buffer.from('00057a61', 'hex'), /^"" stays/],
    ['half a length', Buffer.from([0]), /^"" stays/],
    ['more than the length', Buffer.from('00016e6e', 'hex'), /^"" closes/],
    ['nothing', Buffer.alloc(0), /^"" stays/],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n\r\n'), /^"" closes/],
  ] as const) {
    test(`answer ${what} alike`, async () => {
      const [answer, other] = await Promise.all([behave(real.port, request), behave(ours.port, request)])
      assert.match(answer, expected)
      assert.equal(other, answer)
    })
  }
})

suite('BEAM nodes in our epmd', { skip: missingPrograms('erl'), timeout: 120_000 }, () => {
  const cookie = 'secret'
  const peers: Peer[] = []
  after(() => Promise.all(peers.map((peer) => peer.kill())))

  async function startNode(name: string, epmdPort: number): Promise<Peer> {
    const peer = await startErl({ name, cookie, epmdPort })
    peers.push(peer)
    return peer
  }

  test('register, find each other, list the names, and are gone when they end', async (t) => {
    const server = await serve(0)
    t.after(() => server.close())
    const { port } = server
    const [a, b] = await Promise.all([startNode('a@127.0.0.1', port), startNode('b@127.0.0.1', port)])
    assert.equal(await a.evaluate("net_adm:ping('b@127.0.0.1')"), 'pong')
    assert.equal(await b.evaluate('nodes()'), "['a@127.0.0.1']")
    const listed = await a.evaluate(
      '{ok, Names} = erl_epmd:names({127,0,0,1}), [Name || {Name, _} <- lists:sort(Names)]',
    )
    assert.equal(listed, '["a","b"]')
    const { stdout } = await run('epmd', ['-port', String(port), '-names'])
    assert.match(stdout, /name a at port \d+\n/)
    assert.match(stdout, /name b at port \d+\n/)
    await b.kill()
    await until('the name of b to be gone', async () => (await registeredNames({ host, port })).length === 1)
    assert.equal(await a.evaluate("net_adm:ping('b@127.0.0.1')"), 'pang')
  })

  test('are refused a name that another one has', async (t) => {
    const server = await serve(0)
    t.after(() => server.close())
    await startNode('twice@127.0.0.1', server.port)
    const names = await registeredNames({ host, port: server.port })
    await assert.rejects(startNode('twice@127.0.0.1', server.port), /ended before it was up/)
    assert.deepEqual(await registeredNames({ host, port: server.port }), names)
    assert.deepEqual(
      names.map(({ name }) => name),
      ['twice'],
    )
  })

  test('come back by themselves when another takes the epmd over', async (t) => {
    const port = await freePort()
    const first = await start(t, 'first', port)
    const second = await start(t, 'second', port)
    assert.deepEqual([first.serving, second.serving], [true, false])
    await startNode('c@127.0.0.1', port)
    const before = await lookUpPort('c', { host, port })
    await first.close()
    const since = performance.now()
    await until('c to be registered again', async () => (await lookUpPort('c', { host, port })) === before)
    t.diagnostic(`a BEAM node again ${Math.round(performance.now() - since)} ms after the end of its epmd`)
    assert.equal(await lookUpPort('second', { host, port }), 4_000)
    assert.equal(second.serving, true)
  })
})

suite('A registration beside a real epmd', { skip: missingPrograms('erl'), timeout: 60_000 }, () => {
  test('uses the one that is there', async (t) => {
    const epmd = await startEpmd({ address: host })
    t.after(() => epmd.stop())
    const registration = await start(t, 'mine', epmd.port)
    assert.equal(registration.serving, false)
    const { stdout } = await run('epmd', ['-port', String(epmd.port), '-names'])
    assert.match(stdout, /name mine at port 4000\n/)
    await assert.rejects(start(t, 'mine', epmd.port), { code: 'name_taken' })
    await registration.close()
    await until('the name to be gone', async () => (await registeredNames({ host, port: epmd.port })).length === 0)
  })

  test('takes its place when it ends, and gives a node that it knew its name again', async (t) => {
    const epmd = await startEpmd({ address: host })
    t.after(() => epmd.stop())
    const { port } = epmd
    const registration = await start(t, 'mine', port)
    const node = await startErl({ name: 'd@127.0.0.1', cookie: 'secret', epmdPort: port })
    t.after(() => node.kill())
    await epmd.stop()
    await until('both to be back', async () => (await registeredNames({ host, port })).length === 2)
    assert.equal(registration.serving, true)
  })

  test('loses nothing to one that starts later', async (t) => {
    const port = await freePort()
    const registration = await start(t, 'mine', port)
    // On every interface, as a node would start it.
    for (const address of [[], ['-address', host]]) {
      const late = spawn('epmd', ['-d', '-port', String(port), ...address], { stdio: ['ignore', 'ignore', 'pipe'] })
      let said = ''
      late.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
      const [code] = await once(late, 'close')
      assert.equal(code, 0, said)
      assert.match(said, /already a epmd running/)
    }
    assert.equal(registration.serving, true)
    assert.equal(await lookUpPort('mine', { host, port }), 4_000)
  })
})

suite('Three processes under one epmd port', { timeout: 60_000 }, () => {
  const script = fileURLToPath(new URL('registrant.ts', import.meta.url))

  async function startRegistrant(t: TestContext, name: string, distributionPort: number, epmdPort: number) {
    const args = [script, name, String(distributionPort), String(epmdPort)]
    const child: ChildProcess = spawn(process.execPath, args, { stdio: 'pipe' })
    t.after(() => child.kill('SIGKILL'))
    let said = ''
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => (said += chunk.toString()))
    await until(`${name} to be registered`, () => /^registered$/m.test(said), { hint: () => said })
    return { child, name, port: distributionPort, serves: () => said.includes('serving true') }
  }

  test('find every name again within 3 s of the death of the one that served', async (t) => {
    const epmdPort = await freePort()
    const all = await Promise.all(
      ['a', 'b', 'c'].map((name, index) => startRegistrant(t, name, 4_001 + index, epmdPort)),
    )
    // The second death comes at once after the first, when whoever has just come back takes its 2 s.
    for (const timeoutMs of [3_000, 60_000]) {
      const living = all.filter(({ child }) => child.signalCode === null)
      const owners = living.filter(({ serves }) => serves())
      assert.equal(owners.length, 1)
      const others = living.filter((process) => process !== owners[0])
      const exited = once(owners[0]?.child as ChildProcess, 'exit')
      owners[0]?.child.kill('SIGKILL')
      await exited
      const since = performance.now()
      const isBack = async ({ name, port }: (typeof all)[number]) =>
        (await lookUpPort(name, { host, port: epmdPort })) === port
      await until('every name', async () => (await Promise.all(others.map(isBack))).every(Boolean), { timeoutMs })
      t.diagnostic(
        `${others.length} names again ${Math.round(performance.now() - since)} ms after the death of their epmd`,
      )
      await assert.rejects(lookUpPort(owners[0]?.name ?? '', { host, port: epmdPort }), { code: 'not_registered' })
    }
  })
})

suite('Our epmd in a network of its own', { skip: missingNamespaces(), timeout: 60_000 }, () => {
  const script = fileURLToPath(new URL('epmd-stranger.ts', import.meta.url))
  // RFC 5737: nobody has it.
  const stranger = '192.0.2.7'

  async function answersTo(
    options: { setUp?: string; addresses?: string[] } = {},
  ): Promise<{ answers: Record<string, string>; log: string[] }> {
    const { setUp = 'true', addresses = [] } = options
    const commands = `ip link set lo up && ip addr add ${stranger}/32 dev lo && ${setUp} && exec "$0" "$@"`
    const shell = ['-rn', 'sh', '-c', commands]
    const { stdout } = await run('unshare', [...shell, process.execPath, script, stranger, ...addresses])
    return JSON.parse(stdout)
  }

  test('lets a stranger look up, and not register, dump or kill', async () => {
    const { answers } = await answersTo()
    assert.match(answers['port'] ?? '', /^w\0/)
    assert.match(answers['names'] ?? '', /name a at port 4000\n$/)
    assert.deepEqual([answers['register'], answers['dump'], answers['kill']], ['', '', ''])
  })

  for (const addresses of [[], [stranger]]) {
    test(`does without IPv6 where there is none, with ${addresses.length} addresses`, async () => {
      const { answers, log } = await answersTo({ setUp: 'sysctl -qw net.ipv6.conf.all.disable_ipv6=1', addresses })
      assert.match(answers['names'] ?? '', /name a at port 4000\n$/)
      assert.deepEqual(
        log.filter((line) => line.startsWith('warn')),
        [],
      )
    })
  }
})

/** As missingPrograms; some containers forbid namespaces. */
function missingNamespaces(): string | false {
  const missing = missingPrograms('unshare', 'ip')
  if (missing !== false) return missing
  const { status } = spawnSync('unshare', ['-rn', 'true'])
  return status === 0 ? false : 'needs the right to make a network namespace'
}
