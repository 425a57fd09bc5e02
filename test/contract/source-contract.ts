import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import type { Clock } from '../../agent/clock.ts'
import { openSource } from '../../agent/strategies/index.ts'
import { parseConfig } from '../../core/config.ts'
import { RollcallError } from '../../core/error.ts'
import type { Observation } from '../../core/member.ts'
import type { NodeName } from '../../core/node.ts'
import { exchange, resolvConf } from '../../functions/exchange.ts'
import type { Log, Source, SourceContext } from '../../functions/resolvers/source.ts'

/** Where a source looks in a test: a server on the loopback, a folder, a program. It ends with its test (`t.after`). */
export interface World {
  /** The options by which the source finds it, as in a config. */
  readonly options: Record<string, unknown>
  /** What else of the context the source is given: a `fetch`, say. */
  readonly context?: Partial<SourceContext>
  /** Who should be listed. */
  readonly nodes?: readonly NodeName[]
  /** The code that its failure should have; any stable one by default. */
  readonly code?: string
  /** Of a world that never answers: resolves when the source waits for it. */
  readonly asked?: Promise<unknown>
}

/** Builds a world for one test. */
export type Opens = (t: TestContext) => World | Promise<World>

export interface SourceContractOptions {
  /** For the names of the tests. */
  readonly name: string
  /** As in a config. */
  readonly kind: string
  /** Gives the source, with a memory of its own for each test; called when its options have been parsed. */
  readonly load: () => Source<unknown> | Promise<Source<unknown>>
  /** How it can be asked: exactly the methods that it should have. */
  readonly ways?: readonly Way[]
  /** It can only be listened to: silence is no answer, so it never gives `complete`. */
  readonly listens?: boolean
  /** The own node, which the worlds list like any other. */
  readonly self?: NodeName
  /** Options that are right. */
  readonly good: Record<string, unknown>
  /** Wrong values, by the key that the sentence must name. */
  readonly bad: Record<string, unknown>
  /** Parses options in the config that they stand in; `parseConfig` by default. */
  readonly parse?: (options: Record<string, unknown>) => Promise<unknown>
  /** Answers well, names self and at least one other, and one of them twice where it can. */
  readonly lists: Opens
  /** Says itself that there is nobody; absent for a source that cannot be told so. */
  readonly nobody?: Opens
  /** One bad entry among good ones, by what is bad about it; `nodes` are the good ones. None where no entry can be bad. */
  readonly flawed: Record<string, Opens>
  /** Each way in which the world can fail, by its name. None where none can. */
  readonly failing: Record<string, Opens>
  /** Never answers; absent where nothing is waited for. */
  readonly hangs?: Opens
  /** Answers without end; absent where nothing is read. */
  readonly floods?: Opens
}

type Way = 'look' | 'watch'

export const CONTRACT_NOW = 1_700_000_000_000
const SELF = 'app@10.0.0.1'
// Each test has an end: what hangs fails here, and not the whole run.
const TIMEOUT_MS = 20_000
// What `at once` means to a loaded machine; the deadlines of sources are longer.
const AT_ONCE_MS = 2_000
// A source may keep 8 MB; the rest is what the garbage collector has not come to yet.
const MAX_GROWTH_BYTES = 192 * 1024 * 1024

/**
 * What every source must do, whatever it asks. One bad entry makes an answer `partial`, with a reason: what could not be read may
 * be a node that is known, and a `complete` without it would count as its absence.
 */
export function sourceContract(options: SourceContractOptions): void {
  const { name, kind, load, good, bad, self = SELF, listens = false, ways = ['look'] } = options
  const parse = options.parse ?? (async (given) => parseOptions(kind, given))

  /** A source in a world, ready to be asked once or more. */
  async function enter(t: TestContext, opens: Opens) {
    const world = await opens(t)
    const ended = new AbortController()
    t.after(() => ended.abort())
    const given = await parse(world.options)
    const source = await load()
    const { log, lines } = createKeptLog()
    const context: SourceContext = {
      source: 'contract',
      self,
      signal: ended.signal,
      now: () => CONTRACT_NOW,
      log,
      fetch,
      exchange,
      resolvConf,
      ...world.context,
    }
    function watch(): AsyncIterable<Observation> {
      return source.watch?.(given, context) ?? assert.fail('expected a source with watch')
    }

    /** The first observation that is wanted; a failure or a throw of the source as well. */
    async function ask(way: Way, isWanted: (observation: Observation) => boolean = () => true): Promise<Observation> {
      if (way === 'look') return (await source.look?.(given, context)) ?? assert.fail('expected a source with look')
      for await (const observation of watch()) {
        if (isWanted(observation) || observation.outcome === 'failed') return observation
      }
      return assert.fail('expected the watch to go on until it is wanted no more, got its end')
    }
    return { ...world, ended, lines, ask, watch }
  }

  /** As {@link ask}, for a world whose nodes are known: one that is listened to names them one after the other. */
  async function namesIn(way: Way, { ask, nodes = [] }: Awaited<ReturnType<typeof enter>>): Promise<Observation> {
    const observation = await ask(way, ({ members = [] }) => !listens || members.length >= nodes.length)
    assert.deepEqual(sortedNames(observation), [...nodes].sort())
    return observation
  }

  describe(`the source ${name} keeps the contract`, () => {
    it('takes its options, and refuses others by key and path', async () => {
      await parse(good)
      for (const [key, value] of [...Object.entries(bad), ['graze', true]] as [string, unknown][]) {
        await assert.rejects(parse({ ...good, [key]: value }), (error) => {
          assert.ok(error instanceof RollcallError, String(error))
          assert.equal(error.code, 'config')
          const { sentence = '' } = /topologies\.web\.sources\[0\](?<sentence>.*)$/.exec(error.message)?.groups ?? {}
          assert.ok(sentence.includes(key), `expected ${key} in: ${error.message}`)
          assert.match(sentence, key in bad ? /: expected / : /: unknown key /)
          return true
        })
      }
    })

    it('has the methods that it says, and no others', async () => {
      await parse(good)
      const source = await load()
      assert.deepEqual(
        (['look', 'watch'] as const).filter((way) => source[way] !== undefined),
        ways,
      )
    })

    for (const way of ways) {
      it(`lists who is there, self and each name once, as of now, when asked by ${way}`, {
        timeout: TIMEOUT_MS,
      }, async (t) => {
        const entered = await enter(t, options.lists)
        assert.ok(entered.nodes?.includes(self) && entered.nodes.length > 1, 'expected a world with self and others')
        const observation = await namesIn(way, entered)
        assert.equal(observation.outcome, listens ? 'partial' : 'complete')
        assert.equal(observation.source, 'contract')
        assert.equal(observation.at, CONTRACT_NOW)
        for (const { status } of observation.members ?? []) assert.equal(status, 'up')
      })

      const { nobody } = options
      if (nobody !== undefined) {
        it(`is complete with nobody only when told so, by ${way}`, { timeout: TIMEOUT_MS }, async (t) => {
          const { ask } = await enter(t, nobody)
          const { outcome, members } = await ask(way)
          assert.deepEqual([outcome, members], ['complete', []])
        })
      }

      for (const [flaw, opens] of Object.entries(options.flawed)) {
        it(`skips ${flaw}, keeps the rest and says so, by ${way}`, { timeout: TIMEOUT_MS }, async (t) => {
          const entered = await enter(t, opens)
          assert.ok(entered.nodes !== undefined && entered.nodes.length > 0, 'expected a world with good entries too')
          const observation = await namesIn(way, entered)
          assert.equal(observation.outcome, 'partial')
          if (listens) return assert.notDeepEqual(entered.lines, [])
          assert.match(observation.outcome === 'partial' ? observation.reason : '', /\S/)
        })
      }

      for (const [failure, opens] of Object.entries(options.failing)) {
        it(`fails with a code and lists nobody at ${failure}, by ${way}`, { timeout: TIMEOUT_MS }, async (t) => {
          const { ask, code } = await enter(t, opens)
          assertFailure(await outcomeOf(ask(way)), code)
        })
      }

      const { hangs, floods } = options
      if (hangs !== undefined) {
        it(`ends at once when it is told to, and leaves nothing open, by ${way}`, {
          timeout: TIMEOUT_MS,
        }, async (t) => {
          const { ask, asked, ended } = await enter(t, hangs)
          const before = resources()
          const outcome = outcomeOf(ask(way))
          await asked
          ended.abort(new Error('enough'))
          const isOver = await within(AT_ONCE_MS, outcome)
          assert.ok(isOver, `expected the ${way} to end at once, got no end within ${AT_ONCE_MS} ms`)
          const { observation } = await outcome
          assert.ok(observation === undefined || observation.outcome === 'failed', JSON.stringify(observation))
          await assertNothingLeft(before)
        })

        it(`asks nobody once it was told to end, by ${way}`, { timeout: TIMEOUT_MS }, async (t) => {
          const { ask, ended } = await enter(t, hangs)
          const before = resources()
          ended.abort(new Error('enough'))
          const { observation } = await outcomeOf(ask(way))
          assert.ok(observation === undefined || observation.outcome === 'failed', JSON.stringify(observation))
          await assertNothingLeft(before)
        })
      }

      if (floods !== undefined) {
        it(`gives up an answer without end before it fills the memory, by ${way}`, {
          timeout: TIMEOUT_MS,
        }, async (t) => {
          const { ask, code } = await enter(t, floods)
          const before = resources()
          const watched = watchMemory()
          const outcome = await outcomeOf(ask(way))
          const growth = watched.end()
          assertFailure(outcome, code)
          assert.ok(growth < MAX_GROWTH_BYTES, `grew by ${Math.round(growth / 1e6)} MB`)
          await assertNothingLeft(before)
        })
      }
    }

    if (ways.includes('watch')) {
      it('ends at once while it waits for more, and leaves nothing open', { timeout: TIMEOUT_MS }, async (t) => {
        const { watch, ended } = await enter(t, options.lists)
        const before = resources()
        const iterator = watch()[Symbol.asyncIterator]()
        assert.equal((await iterator.next()).done, false)
        const rest = (async () => {
          while ((await iterator.next()).done !== true);
        })().catch(() => undefined)
        await turn()
        ended.abort(new Error('enough'))
        assert.ok(
          await within(AT_ONCE_MS, rest),
          `expected the watch to end at once, got no end within ${AT_ONCE_MS} ms`,
        )
        await assertNothingLeft(before)
      })
    } else {
      it('is asked again after 0.8 to 1.0 of the interval, by chance', { timeout: TIMEOUT_MS }, async (t) => {
        const { options: given } = await options.lists(t)
        const parsed = (await parse(given)) as Record<string, unknown>
        const { clock, waits } = createRestlessClock([0, 0.5, 1])
        const log = createKeptLog().log
        const config = { id: 'contract', kind, options: parsed }
        const common = { topology: 'web', intervalMs: 5_000, self, log, clock, load: async () => await load() }
        const opened = await openSource(config, common)
        const ended = new AbortController()
        t.after(() => ended.abort())
        let looks = 0
        for await (const { outcome } of opened.watch(ended.signal)) {
          assert.equal(outcome, 'complete')
          if (++looks === 4) break
        }
        assert.deepEqual(waits, [4_000, 4_500, 5_000])
      })
    }

    it('reads no clock but the one that it is given', { timeout: TIMEOUT_MS }, async (t) => {
      t.mock.method(Date, 'now', () => {
        // fetch reads the clock itself, also after the answer of an earlier test.
        const frames = new Error('a source read Date.now').stack?.split('\n').slice(1) ?? []
        const caller = frames.find((frame) => !/source-contract|node:internal\/test_runner/.test(frame))
        assert.doesNotMatch(caller ?? '', /^(?!.*node_modules).*\/(agent|functions|core)\//, 'a source read Date.now')
        return CONTRACT_NOW
      })
      const entered = await enter(t, options.lists)
      await namesIn(ways[0] ?? 'look', entered)
    })
  })
}

/** The options as the config of one topology, `web`, gives them to its only source. */
export function parseOptions(kind: string, options: Record<string, unknown>): Record<string, unknown> {
  const raw = { topologies: { web: { sources: [{ [kind]: options }] } } }
  const { web } = parseConfig(raw, { file: 'rollcall.yaml', env: {} }).topologies
  return web?.sources[0]?.options ?? {}
}

interface Outcome {
  observation?: Observation
  thrown?: unknown
}

async function outcomeOf(asked: Promise<Observation>): Promise<Outcome> {
  try {
    return { observation: await asked }
  } catch (thrown) {
    return { thrown }
  }
}

/** A failure is never an empty answer: either it is thrown, or it is an observation that says so. */
function assertFailure({ observation, thrown }: Outcome, expected: string | undefined): void {
  if (observation !== undefined) assert.equal(observation.outcome, 'failed', JSON.stringify(observation).slice(0, 500))
  else assert.ok(thrown instanceof RollcallError, `expected a RollcallError, got ${String(thrown)}`)
  const error = observation?.outcome === 'failed' ? observation.error : (thrown as RollcallError)
  assert.match(error.code, /^[a-z][a-z0-9_]*$/)
  assert.notEqual(error.code, 'internal', error.message)
  assert.match(error.message, /^\[[\w.-]+\] \S[^\n]*$/)
  if (expected !== undefined) assert.equal(error.code, expected, error.message)
}

function sortedNames({ members = [] }: Observation): NodeName[] {
  return members.map(({ node }) => node).sort()
}

async function within(ms: number, work: Promise<unknown>): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<false>()
  const timer = setTimeout(resolve, ms, false)
  try {
    return await Promise.race([promise, work.then(() => true)])
  } finally {
    clearTimeout(timer)
  }
}

/** How many of each kind keep this process alive. */
function resources(): Map<string, number> {
  const counts = new Map<string, number>()
  for (const kind of process.getActiveResourcesInfo()) counts.set(kind, (counts.get(kind) ?? 0) + 1)
  return counts
}

/** What is closed is gone a few turns later; what is not, never. */
async function assertNothingLeft(before: ReadonlyMap<string, number>): Promise<void> {
  const deadline = performance.now() + AT_ONCE_MS
  let left: string[] = []
  do {
    await turn()
    left = [...resources()].flatMap(([kind, count]) =>
      kind !== 'Immediate' && count > (before.get(kind) ?? 0) ? [`${count - (before.get(kind) ?? 0)} ${kind}`] : [],
    )
  } while (left.length > 0 && performance.now() < deadline)
  assert.deepEqual(left, [], 'expected nothing left open')
}

function watchMemory(): { end: () => number } {
  const used = () => {
    const { heapUsed, external } = process.memoryUsage()
    return heapUsed + external
  }
  const before = used()
  let most = before
  const note = () => void (most = Math.max(most, used()))
  const timer = setInterval(note, 5)
  return {
    end() {
      clearInterval(timer)
      note()
      return most - before
    },
  }
}

/** A clock on which an interval passes at once and a deadline never; its chances are the given ones. */
function createRestlessClock(chances: number[]): { clock: Clock; waits: number[] } {
  const waits: number[] = []
  let now = CONTRACT_NOW
  const clock: Clock = {
    now: () => now,
    random: () => chances.shift() ?? 1,
    async sleep(ms, signal) {
      if (ms <= 5_000) {
        waits.push(ms)
        now += ms
        return
      }
      const { promise, resolve } = Promise.withResolvers<void>()
      signal.addEventListener('abort', () => resolve(), { once: true })
      await promise
    },
  }
  return { clock, waits }
}

function createKeptLog(): { log: Log; lines: string[] } {
  const lines: string[] = []
  const note = (_fields: object, message: string) => void lines.push(message)
  return { lines, log: { debug: () => undefined, info: note, warn: note, error: note } }
}
