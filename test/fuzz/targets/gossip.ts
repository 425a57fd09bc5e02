import assert from 'node:assert/strict'
import { heartbeatOf, createLibclusterWire } from '../../../agent/strategies/gossip-libcluster.ts'
import { createRollcallWire } from '../../../agent/strategies/gossip-wire.ts'
import { isNodeName } from '../../../core/node.ts'
import { createRoster } from '../../../core/sources/gossip.ts'
import type { Target } from '../target.ts'

const node = 'app@10.0.0.1'
const NOW = 1_700_000_000_000
const LIMIT = 50
const secret = 'secret'
const wires = {
  rollcall: createRollcallWire({ cluster: 'shop' }),
  sealed: createRollcallWire({ secret, cluster: 'shop' }),
  libcluster: createLibclusterWire({}),
  encrypted: createLibclusterWire({ secret }),
}

/** Datagrams of gossip: each is a beat of a node or refused, on each wire, and the list of who is heard stays bounded. */
export function gossipTarget(): Target {
  const beats = (['up', 'leaving'] as const).map((status) => ({ node, status, stamp: { at: NOW, sequence: 1 } }))
  const roster = createRoster({ heardMs: 60_000, limit: LIMIT })
  let now = NOW
  let beatsHeard = 0
  return {
    seeds: [
      ...Object.values(wires).flatMap((wire) => beats.flatMap((beat) => wire.encode(beat) ?? [])),
      heartbeatOf(node, 'latin1'),
    ],
    words: ['"leaving"', '"up"', `${NOW + 300_001}`, '"cluster":"shop"', 'heartbeat::', 'rollcall', '1e999', '\\u0000'],
    inputs: 16_000,

    run(input) {
      now += input.length % 7 === 0 ? -1_000 : 250
      for (const [name, wire] of Object.entries(wires)) {
        const heard = wire.decode(input)
        if ('refused' in heard) continue
        const { beat } = heard
        assert.ok(isNodeName(beat.node))
        const { stamp } = beat
        if (stamp !== undefined) assert.ok(Number.isSafeInteger(stamp.at) && Number.isSafeInteger(stamp.sequence))
        const again = wire.encode({ stamp: { at: now, sequence: 0 }, ...beat })
        if (again !== undefined) assert.deepEqual(wire.decode(again), heard, name)
        roster.hear(beat, now)
        beatsHeard++
      }
      assert.ok(roster.members(now).length <= LIMIT)
      roster.sweep(now)
    },

    checkReach() {
      assert.ok(beatsHeard > 0)
    },
  }
}
