import assert from 'node:assert/strict'
import { parseJson, readLines, readStart } from '../../../agent/kubernetes/json.ts'
import { type Desk, list, watchOnce } from '../../../agent/kubernetes/sync.ts'
import type { Clock } from '../../../agent/clock.ts'
import { RollcallError } from '../../../core/error.ts'
import { isNodeName } from '../../../core/node.ts'
import { kubernetesKinds, kubernetesOptionsSchema, readEvent, readPage } from '../../../core/sources/kubernetes.ts'
import type { SourceContext } from '../../../functions/resolvers/source.ts'
import type { Target } from '../target.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }
const MAX_LINE_BYTES = 16_384
const namings = (['endpointslices', 'endpoints', 'pods'] as const).flatMap((resource) =>
  (['ip', 'dns', 'hostname'] as const).map((host) => ({
    options: kubernetesOptionsSchema.parse({
      resource,
      host,
      selector: 'app=web',
      notReady: host === 'dns' ? 'skip' : 'include',
    }),
    basename: 'app',
    namespace: 'default',
    family: 4 as const,
  })),
)
// Time stands: what waits for it waits for the end of the stream.
const clock: Clock = {
  now: () => 0,
  random: () => 0.5,
  sleep: (_ms, signal) => new Promise((resolve) => signal.addEventListener('abort', () => resolve())),
}

const metadata = {
  name: 'web-1',
  namespace: 'default',
  uid: 'u1',
  resourceVersion: '10',
  labels: { 'kubernetes.io/service-name': 'web' },
}
const targetRef = { kind: 'Pod', name: 'web-0', namespace: 'default', uid: 'p1' }
const slice = {
  metadata,
  endpoints: [
    {
      addresses: ['10.0.0.1'],
      hostname: 'web-0',
      conditions: { ready: true, serving: true, terminating: false },
      targetRef,
    },
    { addresses: ['fd00::1'], conditions: { ready: false, terminating: true } },
  ],
}
const endpoints = {
  metadata,
  subsets: [{ addresses: [{ ip: '10.0.0.1', hostname: 'web-0', targetRef }], notReadyAddresses: [{ ip: '10.0.0.2' }] }],
}
const pod = {
  metadata: { ...metadata, deletionTimestamp: null },
  spec: { hostname: 'web-0', subdomain: 'web' },
  status: {
    phase: 'Running',
    podIP: '10.0.0.1',
    podIPs: [{ ip: '10.0.0.1' }],
    conditions: [{ type: 'Ready', status: 'True' }],
  },
}

function linesOf(values: readonly unknown[]): string {
  return values.map((value) => `${JSON.stringify(value)}\n`).join('')
}

/**
 * What an API server says: the first line is a page of a list, the rest a watch, cut into chunks of any length. A page or an event that is
 * none ends it with a RollcallError; the members of what is left have names, each once.
 */
export function kubernetesTarget(): Target {
  let found = 0
  return {
    seeds: Object.values(kubernetesKinds).flatMap(({ listKind }, index) => {
      const object = [slice, endpoints, pod][index]
      const page = { kind: listKind, metadata: { resourceVersion: '9' }, items: [object] }
      const events = ['ADDED', 'MODIFIED', 'BOOKMARK', 'DELETED'].map((type) => ({ type, object }))
      const error = { type: 'ERROR', object: { code: 410, message: 'too old' } }
      return [JSON.stringify(page), linesOf([page, ...events]), linesOf([page, error])]
    }),
    words: [
      '"terminating":true',
      '"continue":"x"',
      '"code":410',
      '\\ud800',
      '::',
      '10-0-0-1',
      '\n',
      '"items":null',
      '[',
      '{"a":',
    ],
    isJson: true,
    inputs: 5_000,

    async run(input) {
      const bytes = Buffer.from(input)
      const end = bytes.indexOf('\n')
      const page = end < 0 ? bytes : bytes.subarray(0, end)
      const text = await readStart(chunksOf(page), 64 * 1024)
      // The names are made as the length of the input says; the objects are read as what the page says it has.
      const ways = namings.filter(({ options }) => text.includes(`"${kubernetesKinds[options.resource].listKind}"`))
      const naming = ways[input.length % ways.length] ?? namings[input.length % namings.length] ?? assert.fail()
      const kind = kubernetesKinds[naming.options.resource]
      let pages = 0
      const api: Desk['api'] = {
        // A token of a next page leads to the same one, without end.
        list: async () => {
          assert.ok(++pages <= 400)
          return readPage(parseJson(text), kind)
        },
        watch: async () => eventsOf(bytes.subarray(page.length)),
        close: () => undefined,
      }
      const { signal } = new AbortController()
      const context: SourceContext = { source: 'k', self: 'app@10.0.0.9', signal, now: () => 0, log, fetch }
      const desk: Desk = { api, naming, context, clock }
      try {
        const { roster, resourceVersion } = await list(desk, signal)
        const cursor = { resourceVersion, lines: 0 }
        const check = () => {
          const { members } = roster.read()
          assert.ok(members.every(({ node }) => isNodeName(node)))
          assert.equal(new Set(members.map(({ node }) => node)).size, members.length)
          found += members.length
        }
        check()
        await watchOnce(desk, { cursor, roster, prove: check, signal })
      } catch (error) {
        if (!(error instanceof RollcallError)) throw error
        assert.match(error.code, /^(bad_answer|http_[45]\d\d|too_many|watch_ended)$/)
      }
    },

    checkReach() {
      assert.ok(found > 0)
    },
  }
}

async function* eventsOf(bytes: Buffer) {
  for await (const line of readLines(chunksOf(bytes), MAX_LINE_BYTES)) yield readEvent(parseJson(line))
}

/** Chunks whose lengths follow from the bytes. */
async function* chunksOf(bytes: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; ) {
    const end = at + 1 + 16 * (bytes[at] ?? 0)
    yield bytes.subarray(at, end)
    at = end
  }
}
