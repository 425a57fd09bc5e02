import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

// `npm run test:runtimes` runs these too, where another assert stands in for Node's: it must refuse what Node's refuses.
describe('an assertion', () => {
  const unequal: [string, unknown, unknown][] = [
    ['a number and its digits', { port: 1 }, { port: '1' }],
    ['a missing key and an undefined one', {}, { id: undefined }],
    ['null and undefined', [null], [undefined]],
    ['a list and an object', [], {}],
    ['a hole and undefined', Array(1), [undefined]],
    ['another order', ['a', 'b'], ['b', 'a']],
    ['one entry more', ['a'], ['a', 'b']],
    ['a value deep inside', { a: [{ b: { c: 1 } }] }, { a: [{ b: { c: 2 } }] }],
    ['0 and -0', [0], [-0]],
    ['two prototypes', Object.create(null), {}],
    ['two maps', new Map([['a', 1]]), new Map([['a', 2]])],
    ['two sets', new Set([1]), new Set([2])],
    ['a set and a map', new Set(), new Map()],
    ['two instants', new Date(1), new Date(2)],
    ['two patterns', /a/, /a/i],
    ['two errors', new Error('a'), new Error('b')],
    ['two byte arrays', Uint8Array.of(1), Uint8Array.of(2)],
  ]
  for (const [what, actual, expected] of unequal) {
    test(`tells ${what} apart`, () => {
      assert.throws(() => assert.deepEqual(actual, expected), { code: 'ERR_ASSERTION' })
      assert.throws(() => assert.deepEqual(expected, actual), { code: 'ERR_ASSERTION' })
      assert.throws(() => assert.equal(actual, expected), { code: 'ERR_ASSERTION' })
    })
  }

  test('takes equal content for equal', () => {
    const content = () => ({
      list: [1, Number.NaN, null],
      map: new Map([['a', new Set([1])]]),
      at: new Date(1),
      like: /a/u,
    })
    assert.deepEqual(content(), content())
  })

  const unmet: [string, () => void][] = [
    ['ok of an empty string', () => assert.ok('')],
    ['equal of a number and its digits', () => assert.equal<unknown>(1, '1')],
    ['notEqual of two NaN', () => assert.notEqual(Number.NaN, Number.NaN)],
    ['match without one', () => assert.match('a', /b/)],
    ['doesNotMatch with one', () => assert.doesNotMatch('a', /a/)],
    ['throws of what does not', () => assert.throws(() => {})],
    ['throws of another code', () => assert.throws(() => assert.fail(), { code: 'config' })],
    ['throws of another message', () => assert.throws(() => assert.fail('a'), { message: /b/ })],
    ['fail', () => assert.fail()],
  ]
  for (const [what, act] of unmet) {
    test(`fails at ${what}`, () => {
      let failed = false
      try {
        act()
      } catch {
        failed = true
      }
      if (!failed) throw new Error('expected an error, got none')
    })
  }
})
