import assert from 'node:assert/strict'
import { encode as encodePacket, type Answer } from 'dns-packet'
import { RollcallError } from '../../../core/error.ts'
import { isNodeName } from '../../../core/node.ts'
import { type DnsOptions, dnsOptionsSchema } from '../../../core/sources/dns.ts'
import { dnsSource } from '../../../functions/resolvers/dns.ts'
import type { SourceContext } from '../../../functions/resolvers/source.ts'
import { joinParts, partsOf, type Target } from '../target.ts'

const HEADER_BYTES = 12
const log = { debug() {}, info() {}, warn() {}, error() {} }
const query = 'web.internal'
// Each question may be asked twice, and over TCP again.
const MAX_EXCHANGES = 4 * 1_000
const asked: readonly DnsOptions[] = [
  { types: ['A'] },
  { types: ['A', 'AAAA'] },
  { types: ['A'], host: 'hostname' },
  { types: ['SRV'] },
  { types: ['SRV'], host: 'ip' },
].map((given) => dnsOptionsSchema.parse({ query, basename: 'app', server: 'udp://127.0.0.1:53', ...given }))

/** The options, and what stands in an answer before and after its question: flags and counts, records. */
function answer(choice: number, answers: Answer[], additionals: Answer[] = [], flags = 0x8180): Uint8Array {
  const packet = encodePacket({ type: 'response', flags: 0x180, questions: [], answers, additionals })
  packet.writeUInt16BE(flags, 2)
  return joinParts([Buffer.of(choice), Buffer.concat([packet.subarray(2, 4), packet.subarray(6)])])
}

/**
 * DNS answers, from the bytes to the members. Most are completed to an answer of the question that was asked; where the options are odd,
 * they are sent as they are. A look gives node names, each once, or fails with a code of its own, after a bounded number of questions.
 */
export function dnsTarget(): Target {
  const a: Answer = { type: 'A', name: query, data: '10.0.0.1' }
  const srv: Answer = { type: 'SRV', name: query, data: { target: 'n1.internal', port: 80 } }
  const ptr: Answer = { type: 'PTR', name: '1.0.0.10.in-addr.arpa', data: 'n1.internal' }
  let found = 0
  return {
    seeds: [
      answer(0, [a, { ...a, data: '10.0.0.2' }]),
      answer(2, [a, { type: 'AAAA', name: query, data: 'fd00::1' }]),
      answer(0, [
        { type: 'CNAME', name: query, data: 'other.internal' },
        { ...a, name: 'other.internal' },
      ]),
      answer(0, [{ type: 'CNAME', name: query, data: 'other.internal' }]),
      answer(4, [a, ptr]),
      answer(6, [srv]),
      answer(8, [srv], [{ type: 'A', name: 'n1.internal', data: '10.0.0.1' }]),
      answer(8, [srv, { type: 'A', name: 'n1.internal', data: '10.0.0.1' }]),
      answer(0, [], [], 0x8183),
      answer(0, [], [], 0x8182),
      answer(0, [a], [], 0x8380),
      answer(1, [a]),
    ],
    words: [Buffer.of(0xc0, 12), Buffer.of(0, 5, 0, 1), Buffer.of(0, 33, 0, 1), '\u0003web\u0008internal\u0000'],
    inputs: 3_000,

    async run(input) {
      const [first = Buffer.alloc(0), ...answers] = partsOf(input)
      const choice = first[0] ?? 0
      const options = asked[(choice >> 1) % asked.length] ?? assert.fail()
      let exchanges = 0
      const context: SourceContext = {
        source: 'dns',
        self: 'app@10.0.0.9',
        signal: new AbortController().signal,
        now: () => 0,
        log,
        fetch: async () => assert.fail('expected no request'),
        exchange: async (_server, packet) => {
          const given = answers[exchanges++ % answers.length] ?? Buffer.alloc(0)
          assert.ok(exchanges <= MAX_EXCHANGES)
          return (choice & 1) === 0 ? completed(given, packet) : given
        },
      }
      try {
        const { outcome, members = [] } = await dnsSource.look!(options, context)
        assert.notEqual(outcome, 'failed')
        const names = members.map(({ node }) => node)
        assert.ok(names.every(isNodeName))
        assert.deepEqual(names, [...new Set(names)].sort())
        found += names.length
      } catch (error) {
        if (!(error instanceof RollcallError)) throw error
        assert.match(error.code, /^dns_/)
      }
    },

    checkReach() {
      assert.ok(found > 0)
    },
  }
}

/** Id and question are those of the query. */
function completed(given: Buffer, packet: Uint8Array): Uint8Array {
  const head = Buffer.alloc(HEADER_BYTES)
  head.set(packet.subarray(0, 2))
  head.set(given.subarray(0, 2), 2)
  head.writeUInt16BE(1, 4)
  head.set(given.subarray(2, 8), 6)
  let end = HEADER_BYTES
  while ((packet[end] ?? 0) !== 0) end += 1 + (packet[end] ?? 0)
  return Buffer.concat([head, packet.subarray(HEADER_BYTES, end + 5), given.subarray(8)])
}
