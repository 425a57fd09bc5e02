import assert from 'node:assert/strict'
import { before, describe, it } from 'node:test'
import { gzipSync } from 'node:zlib'
import { build, type BuildOptions } from 'esbuild'
import { ownParts, partsOf, WITHOUT_REGISTRY, WORKER_BUNDLE } from './worker-bundle.ts'

describe('the bundle of the worker', () => {
  /** Bytes of the minified bundle by the file that they come from. */
  let parts: [string, number][]

  before(async () => {
    const { metafile } = await build(WORKER_BUNDLE)
    parts = partsOf(metafile)
  })

  it('holds at most 60 KB of rollcall itself, the libraries not counted', () => {
    atMost(60_000, parts)
  })

  it('holds at most 48 KB of it without the registry, the limits of calls and those who wait for a change', async () => {
    const options: typeof WORKER_BUNDLE & BuildOptions = {
      ...WORKER_BUNDLE,
      plugins: [WITHOUT_REGISTRY],
      logLevel: 'error',
    }
    const { metafile, warnings } = await build(options)
    // Each import of what is emptied: none would mean that nothing was left out.
    assert.ok(warnings.length > 0)
    assert.deepEqual(new Set(warnings.map(({ id }) => id)), new Set(['import-is-undefined']))
    atMost(48_000, partsOf(metafile))
  })

  it('costs at most 24 KiB of compressed upload for rollcall itself', async () => {
    const { outputFiles } = await build({ ...WORKER_BUNDLE, packages: 'external' })
    const bytes = gzipSync(outputFiles[0]?.contents ?? '').length
    assert.ok(bytes > 1024 && bytes <= 24 * 1024, `${bytes} bytes`)
  })

  it('leaves out what only other hosts and agents need', () => {
    const elsewhere = [
      /json-schema-|to-json-schema|\/locales\/(?!en\.)/,
      /node-server|@aws-sdk|host-routes\.ts|resolvers\/index\.ts|openapi/,
      /stores\/(index|memory|dynamodb)\.ts/,
      /exchange\.ts|nameservers\.ts|resolv-conf\.ts|resolvers\/dns\.ts/,
      /\bagent\/|core\/(config|nearest|wire)\.ts/,
    ]
    const found = parts.filter(([file, size]) => size > 0 && elsewhere.some((pattern) => pattern.test(file)))
    assert.deepEqual(found, [])
    assert.ok(parts.some(([file]) => file.endsWith('resolvers/edge-dns.ts')))
  })
})

function atMost(limit: number, parts: readonly [file: string, size: number][]): void {
  const own = ownParts(parts)
  const bytes = own.reduce((sum, [, size]) => sum + size, 0)
  assert.ok(bytes <= limit, `${bytes} bytes: ${JSON.stringify(own.toSorted(([, a], [, b]) => b - a))}`)
}
