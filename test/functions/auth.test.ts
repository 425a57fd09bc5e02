import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, it } from 'node:test'
import type { AuthEntry } from '../../core/config.ts'
import { RollcallError } from '../../core/error.ts'
import { authorize, createAuthenticate } from '../../functions/auth.ts'

const TOKEN = 'zB3fQ1nV0y8aVxJ5tqH6mYw2rKcE7uPdLsGiOhNbXk4'

function entry(parts: Partial<AuthEntry> = {}): AuthEntry {
  const sha256 = createHash('sha256').update(TOKEN).digest('hex')
  return { name: 'ci', sha256, topologies: '*', verbs: ['read', 'plan'], nodes: '*', ...parts }
}

function codeOf(call: () => unknown): string | undefined {
  try {
    call()
  } catch (error) {
    assert.ok(error instanceof RollcallError)
    return error.code
  }
  return undefined
}

describe('authentication', () => {
  it('finds the entry of a token by its hash, wherever it stands in the list', async () => {
    const others = [entry({ name: 'x', sha256: '0'.repeat(64) }), entry({ name: 'y', sha256: 'f'.repeat(64) })]
    for (const list of [
      [entry(), ...others],
      [...others, entry()],
    ]) {
      assert.equal((await createAuthenticate(list)(`Bearer ${TOKEN}`)).name, 'ci')
    }
    assert.equal(
      (await createAuthenticate([entry()])(`bearer  ${TOKEN}`)).name,
      'ci',
      'RFC 9110: the scheme has no case',
    )
  })

  it('refuses every other header', async () => {
    const authenticate = createAuthenticate([entry()])
    const headers = [
      undefined,
      '',
      'Bearer',
      'Bearer ',
      TOKEN,
      `Basic ${TOKEN}`,
      `Bearer ${TOKEN.slice(0, -1)}`,
      `Bearer ${TOKEN}x`,
      `Bearer ${TOKEN} ${TOKEN}`,
      `Bearer ${TOKEN}\u00e9`,
      `Bearer ${entry().sha256}`,
      `Bearer ${'x'.repeat(100_000)}`,
    ]
    for (const header of headers) {
      await assert.rejects(async () => await authenticate(header), { code: 'unauthenticated' }, String(header))
    }
  })

  it('lets nobody in by an empty list, and everybody by none', async () => {
    await assert.rejects(async () => await createAuthenticate([])(`Bearer ${TOKEN}`), { code: 'unauthenticated' })
    assert.equal((await createAuthenticate('none')(undefined)).name, 'anyone')
  })

  it('lets nobody in when nobody said who may', () => {
    assert.equal(
      codeOf(() => createAuthenticate(undefined)(`Bearer ${TOKEN}`)),
      'auth_not_configured',
    )
  })
})

describe('authorization', () => {
  it('allows what verb, topology and node pattern allow together', () => {
    const caller = entry({ topologies: ['web'], verbs: ['plan'], nodes: 'app@10.0.*' })
    const table: [Parameters<typeof authorize>[1], string | undefined][] = [
      [{ verb: 'plan', topology: 'web', node: 'app@10.0.0.1' }, undefined],
      [{ verb: 'plan', topology: 'web' }, undefined],
      [{ verb: 'read', topology: 'web' }, 'verb_forbidden'],
      [{ verb: 'register', topology: 'web' }, 'verb_forbidden'],
      [{ verb: 'plan', topology: 'db' }, 'topology_forbidden'],
      [{ verb: 'plan', topology: 'web', node: 'app@10.1.0.1' }, 'node_forbidden'],
    ]
    for (const [wish, code] of table)
      assert.equal(
        codeOf(() => authorize(caller, wish)),
        code,
        JSON.stringify(wish),
      )
  })
})
