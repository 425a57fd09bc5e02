import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { test } from 'node:test'

const ROOT = new URL('..', import.meta.url)
const UNITS: Readonly<Record<string, number>> = { KiB: 1_024, MiB: 1_024 ** 2 }

function read(file: string): string {
  return readFileSync(new URL(file, ROOT), 'utf8')
}

/** The number that stands behind a name, in `NAME = 64 * 1024`, `name: 5` or `name(5`. */
function numberIn(file: string, name: string): number | undefined {
  const [, ...behind] = read(file).split(name)
  const products = behind.flatMap((rest) => /^(?: =|:|\(|,) ?([\d_]+(?: \* [\d_]+)*)/.exec(rest)?.[1] ?? [])
  return products[0]?.split(' * ').reduce((product, factor) => product * Number(factor.replaceAll('_', '')), 1)
}

test('every bound in SECURITY.md is that of the code, and its test is there', () => {
  const rows = [
    ...read('SECURITY.md').matchAll(/^\| (.+?) \| ([\d,]+)(?: (\w+))? \| `(.+?)` in `(.+?)` \| `(.+?)` \|$/gm),
  ]
  const [, table = ''] = read('SECURITY.md').split('| input | bound |')
  assert.equal(rows.length, table.split('\n').filter((line) => line.startsWith('| ')).length)
  assert.ok(rows.length > 25)
  for (const [, input = '', amount = '', unit = '', name = '', file = '', suite = ''] of rows) {
    const bound = Number(amount.replaceAll(',', '')) * (UNITS[unit] ?? 1)
    assert.equal(numberIn(file, name), bound, `${input}: ${name} in ${file}`)
    assert.ok(existsSync(new URL(suite, ROOT)), suite)
  }
})
