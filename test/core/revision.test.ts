import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Member } from '../../core/member.ts'
import { revisionOf } from '../../core/revision.ts'

const A: Member = {
  node: 'a@10.0.0.1',
  status: 'up',
  id: 'one',
  address: { host: 'a.internal', port: 9_000 },
  meta: { zone: 'x', rack: 'y' },
}
const B: Member = { node: 'b@10.0.0.2', status: 'up' }
const SOURCES = [
  { source: 'dns', outcome: 'complete' },
  { source: 'ec2', outcome: 'partial' },
]
const REVISION = revisionOf([A, B], SOURCES)

test('the same content has the same revision, whatever the order in which it is told', () => {
  assert.equal(revisionOf([B, A], SOURCES), REVISION)
  assert.equal(revisionOf([A, B], SOURCES.toReversed()), REVISION)
  assert.equal(revisionOf([{ ...A, meta: { rack: 'y', zone: 'x' } }, B], SOURCES), REVISION)
  assert.match(REVISION, /^[0-9a-f]{16}$/)
})

const other: Record<string, readonly Member[]> = {
  'another member': [A, { ...B, node: 'c@10.0.0.3' }],
  'a member more': [A, B, { ...B, node: 'c@10.0.0.3' }],
  'a member that leaves': [A, { ...B, status: 'leaving' }],
  'another id': [{ ...A, id: 'two' }, B],
  'another host': [{ ...A, address: { host: 'b.internal', port: 9_000 } }, B],
  'another port': [{ ...A, address: { host: 'a.internal', port: 9_001 } }, B],
  'another meta': [{ ...A, meta: { zone: 'x', rack: 'z' } }, B],
}

for (const [what, members] of Object.entries(other)) {
  test(`${what} is another revision`, () => assert.notEqual(revisionOf(members, SOURCES), REVISION))
}

test('a source that fails, or another one, is another revision', () => {
  const [dns, ec2] = SOURCES as [(typeof SOURCES)[0], (typeof SOURCES)[0]]
  assert.notEqual(revisionOf([A, B], [dns, { ...ec2, outcome: 'failed' }]), REVISION)
  assert.notEqual(revisionOf([A, B], [dns, { ...ec2, source: 'ec3' }]), REVISION)
  assert.notEqual(revisionOf([A, B], [dns]), REVISION)
})
