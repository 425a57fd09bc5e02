import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { Observation } from '../../core/member.ts'
import { revisionOf } from '../../core/revision.ts'
import { type Instance, MAX_MEMBERS, TTL_MS } from './store-instance.ts'

export interface StoreHost {
  /** An instance over the store of a topology; every call gives another one, where there can be several. */
  open(topology: string): Promise<Instance>
  /** Ends every instance, and what keeps the leases. */
  restart(): Promise<void>
  close(): Promise<void>
}

export interface StoreContractOptions {
  name: string
  start: () => Promise<StoreHost>
  /** Whether leases are there after a restart. */
  survives: boolean
  skip?: string | false
}

/** What a store does, whatever keeps it: every one must pass it on the real thing. */
export function describeStore({ name, start, survives, skip = false }: StoreContractOptions): void {
  describe(`the leases in ${name}`, { skip }, () => {
    const from = Date.UTC(2026, 0, 1)
    let host: StoreHost
    let count = 0

    before(async () => {
      host = await start()
    })
    after(async () => await host?.close())

    /** Two instances over one store that has been there, and renewed at, for longer than a lease. */
    async function openTwo(): Promise<{ topology: string; one: Instance; other: Instance; now: number }> {
      const topology = `t${count++}`
      const [one, other] = [await host.open(topology), await host.open(topology)]
      let now = from
      for (; now <= from + 2 * TTL_MS; now += TTL_MS / 3) await one.claim({ node: 'keeper@h', id: 'k' }, now)
      return { topology, one, other, now }
    }

    it('are listed by every instance alike, with equal revisions, from the moment of the write', async () => {
      const { one, other, now } = await openTwo()
      const meta = { b: '2', a: '1' }
      const claim = { node: 'a@h', id: '1', address: { host: '10.0.0.1', port: 4370 }, meta }
      assert.deepEqual(await one.claim(claim, now), { ttlMs: TTL_MS, isNews: true })
      assert.deepEqual(await other.claim({ node: 'b@h', id: '2', ttlMs: 5_000 }, now), { ttlMs: 5_000, isNews: true })
      const looks = [await one.look(now), await other.look(now)]
      for (const look of looks) {
        assert.equal(look.outcome, 'complete')
        assert.deepEqual(look.members, [
          { node: 'a@h', status: 'up', id: '1', address: { host: '10.0.0.1', port: 4370 }, meta },
          { node: 'b@h', status: 'up', id: '2' },
          { node: 'keeper@h', status: 'up', id: 'k' },
        ])
      }
      assert.equal(revision(looks[0]), revision(looks[1]))
    })

    it('end where they are not renewed, at any instance', async () => {
      const { one, other, now } = await openTwo()
      await one.claim({ node: 'a@h', id: '1' }, now)
      await one.claim({ node: 'b@h', id: '1' }, now)
      for (let passed = 0; passed <= TTL_MS; passed += TTL_MS / 3) {
        await one.claim({ node: 'keeper@h', id: 'k' }, now + passed)
        await other.claim({ node: 'b@h', id: '1' }, now + passed)
      }
      assert.deepEqual(names(await one.look(now + TTL_MS + 1)), ['b@h up', 'keeper@h up'])
      assert.deepEqual(names(await other.look(now + TTL_MS + 1)), ['b@h up', 'keeper@h up'])
      assert.equal((await one.claim({ node: 'a@h', id: '1' }, now + TTL_MS + 1)).isNews, true)
    })

    it('are tombstones once their node has left, which outlast it and refuse its old id', async () => {
      const { one, other, now } = await openTwo()
      await one.claim({ node: 'a@h', id: 'old' }, now)
      assert.equal((await other.release({ node: 'a@h', id: 'old' }, now)).isNews, true)
      assert.deepEqual(names(await one.look(now)), ['a@h leaving', 'keeper@h up'])
      await assert.rejects(one.claim({ node: 'a@h', id: 'old' }, now + 1), { code: 'left' })
      assert.equal((await one.release({ node: 'a@h', id: 'old' }, now + 1)).isNews, false)
      await one.claim({ node: 'a@h', id: 'new' }, now + 2)
      await assert.rejects(other.release({ node: 'a@h', id: 'old' }, now + 3), { code: 'replaced' })
      assert.deepEqual(names(await other.look(now + 3)), ['a@h up', 'keeper@h up'])
      assert.equal((await other.release({ node: 'unknown@h', id: 'x' }, now + 3)).isNews, false)
    })

    it('are not written while more than two thirds of them are left', async () => {
      const { one, other, now } = await openTwo()
      await one.claim({ node: 'a@h', id: '1' }, now)
      assert.equal((await other.claim({ node: 'a@h', id: '1' }, now + 1_000)).isNews, false)
      await one.claim({ node: 'keeper@h', id: 'k' }, now + TTL_MS / 3)
      await one.claim({ node: 'keeper@h', id: 'k' }, now + (2 * TTL_MS) / 3)
      await one.claim({ node: 'keeper@h', id: 'k' }, now + TTL_MS)
      assert.deepEqual(names(await other.look(now + TTL_MS)), ['keeper@h up'], 'a write after 1 s would have kept it')
    })

    it('all stand when many write at once, through two instances', async () => {
      const { one, other, now } = await openTwo()
      const nodes = Array.from({ length: 60 }, (_, index) => `n${index}@h`)
      const claims = nodes.map((node, index) => (index % 2 === 0 ? one : other).claim({ node, id: '1' }, now))
      await Promise.all(claims)
      const listed = names(await one.look(now))
      assert.deepEqual(new Set(listed), new Set([...nodes.map((node) => `${node} up`), 'keeper@h up']))
      assert.equal(revision(await other.look(now)), revision(await one.look(now)))
    })

    it('of one node go to one start when many claim it at once, and each hears its own fate', async () => {
      const { one, other, now } = await openTwo()
      await one.claim({ node: 'a@h', id: 'old' }, now)
      await one.release({ node: 'a@h', id: 'old' }, now)
      const ids = Array.from({ length: 12 }, (_, index) => (index % 3 === 0 ? 'old' : `new${index}`))
      const claims = ids.map((id, index) => (index % 2 === 0 ? one : other).claim({ node: 'a@h', id }, now))
      const results = await Promise.allSettled(claims)
      const [member] = (await one.look(now)).members ?? []
      assert.equal(member?.status, 'up')
      const refused = results.filter(({ status }) => status === 'rejected').length
      assert.ok(refused <= 4, `only the start that left may be refused, got ${refused}`)
    })

    it('stay tombstones when a renewal comes at the same moment by another instance', async () => {
      const { one, other, now } = await openTwo()
      const nodes = Array.from({ length: 30 }, (_, index) => `n${index}@h`)
      await Promise.all(nodes.map((node) => one.claim({ node, id: '1' }, now)))
      const meta = { renewed: 'with news, so that it is written' }
      const races = nodes.flatMap((node) => [
        other.claim({ node, id: '1', meta }, now).catch((error: unknown) => assert.equal(codeOf(error), 'left')),
        one.release({ node, id: '1' }, now),
      ])
      await Promise.all(races)
      // Whichever was first: after both, it has left.
      const listed = names(await one.look(now)).filter((name) => name !== 'keeper@h up')
      assert.deepEqual(listed.toSorted(compare), nodes.map((node) => `${node} leaving`).toSorted(compare))
    })

    it('do not run while nobody could renew, and whoever is gone by then ends after', async () => {
      const { one, other, now } = await openTwo()
      await one.claim({ node: 'a@h', id: '1' }, now)
      await one.claim({ node: 'keeper@h', id: 'k' }, now)
      const back = now + 10 * TTL_MS
      const away = await one.look(now + TTL_MS)
      assert.deepEqual([away.outcome, names(away).length], ['partial', 2])
      await Promise.all([
        one.claim({ node: 'keeper@h', id: 'k' }, back),
        other.claim({ node: 'b@h', id: '1' }, back),
        one.claim({ node: 'c@h', id: '1' }, back),
      ])
      const looks = [await one.look(back), await other.look(back)]
      for (const look of looks) assert.equal(look.outcome, 'partial', 'away for longer than a lease: who is there?')
      for (let passed = TTL_MS / 3; passed <= TTL_MS; passed += TTL_MS / 3) {
        for (const node of ['keeper@h', 'b@h', 'c@h']) {
          await other.claim({ node, id: node === 'keeper@h' ? 'k' : '1' }, back + passed)
        }
      }
      const later = await other.look(back + TTL_MS)
      assert.deepEqual([later.outcome, names(later)], ['complete', ['b@h up', 'c@h up', 'keeper@h up']])
    })

    it('extends them by an outage once, whoever of many comes back first', async () => {
      const { one, other, now } = await openTwo()
      await one.claim({ node: 'keeper@h', id: 'k' }, now)
      await one.claim({ node: 'a@h', id: '1' }, now)
      // Two thirds of a lease without a write: what is left then is a third more than without it, and not more.
      const back = now + (2 * TTL_MS) / 3
      const nodes = Array.from({ length: 10 }, (_, index) => `n${index}@h`)
      await Promise.all(nodes.map((node, index) => (index % 2 ? one : other).claim({ node, id: '1' }, back)))
      for (let passed = TTL_MS / 3; passed <= TTL_MS; passed += TTL_MS / 3) {
        assert.ok(names(await one.look(back + passed - 1)).includes('a@h up'), `${passed}`)
        await one.claim({ node: 'keeper@h', id: 'k' }, back + passed)
      }
      assert.ok(!names(await one.look(back + TTL_MS)).includes('a@h up'))
    })

    it('refuse the one that is too many', async () => {
      const { one, now } = await openTwo()
      for (let index = 1; index < MAX_MEMBERS; index++) await one.claim({ node: `n${index}@h`, id: '1' }, now)
      await assert.rejects(one.claim({ node: 'z@h', id: '1' }, now), { code: 'registry_full' })
      assert.equal((await one.claim({ node: 'n7@h', id: '2' }, now)).isNews, true)
    })

    it(survives ? 'survive a restart, with their tombstones' : 'end with what keeps them', async () => {
      const { topology, one, now } = await openTwo()
      await one.claim({ node: 'a@h', id: '1' }, now)
      await one.claim({ node: 'b@h', id: '1' }, now)
      await one.release({ node: 'b@h', id: '1' }, now)
      const before = await one.look(now)
      await host.restart()
      const again = await host.open(topology)
      if (!survives) {
        const look = await again.look(now)
        return assert.deepEqual([look.outcome, look.members], ['partial', []])
      }
      assert.deepEqual(await again.look(now), before)
      await assert.rejects(again.claim({ node: 'b@h', id: '1' }, now), { code: 'left' })
    })
  })
}

function compare(a: string, b: string): number {
  return a < b ? -1 : 1
}

function codeOf(error: unknown): string | undefined {
  return (error as { code?: string }).code
}

function names({ members = [] }: Observation): string[] {
  return members.map(({ node, status }) => `${node} ${status}`)
}

function revision(observation: Observation | undefined): string {
  assert.ok(observation)
  return revisionOf(observation.members ?? [], [observation])
}
