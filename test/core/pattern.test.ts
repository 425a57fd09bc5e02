import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { matches } from '../../core/pattern.ts'

describe('a pattern', () => {
  it('matches from end to end, * being any run of characters', () => {
    const table: [string, string, boolean][] = [
      ['*', 'app@h', true],
      ['app@h', 'app@h', true],
      ['app@h', 'app@hh', false],
      ['app@h', 'xapp@h', false],
      ['app@*', 'app@', true],
      ['app@*', 'db@h', false],
      ['*@h', 'app@h', true],
      ['*@h', 'app@h.evil', false],
      ['a*a', 'a', false],
      ['a*a', 'aa', true],
      ['a*b*c', 'a-b-b-c', true],
      ['a*b*c', 'a-c-b', false],
      ['*.internal', 'app@x.internal', true],
      ['app@10.0.*', 'app@10x0y1', false],
      ['', 'a', false],
    ]
    for (const [pattern, text, expected] of table) assert.equal(matches(pattern, text), expected, `${pattern} ${text}`)
  })

  it('does not take long when it is hostile', () => {
    assert.equal(matches(`${'*a'.repeat(100)}*b`, 'a'.repeat(255)), false)
  })
})
