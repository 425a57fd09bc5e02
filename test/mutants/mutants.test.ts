import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { applyFault } from './mutant.ts'
import { mutants } from './mutants.ts'

const textOf = (file: string) => readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8')

test('every mutant still finds what it changes, exactly once, and changes it', () => {
  const sources = new Map([...new Set(mutants.map(({ file }) => file))].map((file) => [file, textOf(file)]))
  for (const mutant of mutants) {
    const sound = sources.get(mutant.file) ?? ''
    assert.notEqual(applyFault(sound, mutant), sound)
  }
})

test('no fault is there twice, and each is said in words of its own', () => {
  assert.equal(new Set(mutants.map(({ wrong }) => wrong)).size, mutants.length)
  assert.equal(new Set(mutants.map(({ file, find, put }) => JSON.stringify([file, find, put]))).size, mutants.length)
})

test('a fault whose place is gone, or is there twice, says so', () => {
  const fault = { file: 'core/x.ts', find: 'a < b', put: 'a > b', wrong: 'it is turned round' }
  assert.equal(applyFault('a < b', fault), 'a > b')
  assert.throws(() => applyFault('a <= b', fault), /expected once in core\/x.ts: "a < b", got it 0 times/)
  assert.throws(() => applyFault('a < b < a < b', fault), /got it 2 times/)
})
