import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLog } from '../../agent/log.ts'

function createTerminal() {
  const lines: string[] = []
  return { isTTY: true, lines, write: (text: string) => void lines.push(text) }
}

test('on a terminal a line is for a person', () => {
  const terminal = createTerminal()
  createLog('info', terminal).warn({ node: 'b@h', until: 7, err: new Error('no route') }, 'it is gone')
  assert.equal(terminal.lines.length, 1)
  assert.match(
    terminal.lines[0] ?? '',
    /^\d\d:\d\d:\d\d\.\d{3} warn {2}it is gone {2}node=b@h until=7 error=no route\n$/,
  )
})

test('below the level nothing is written', () => {
  const terminal = createTerminal()
  const log = createLog('warn', terminal)
  log.debug({}, 'a')
  log.info({}, 'b')
  log.error({}, 'c')
  assert.equal(terminal.lines.length, 1)
  createLog('silent', terminal).error({}, 'd')
  assert.equal(terminal.lines.length, 1)
})

test('what others said cannot steer the terminal', () => {
  const terminal = createTerminal()
  createLog('info', terminal).info({ message: '\u001b[2J\u0007' }, 'a source\r\nsays \u009b31m')
  assert.equal(/[^\P{Cc}\n]/u.test(terminal.lines[0] ?? ''), false)
  assert.equal(terminal.lines[0]?.indexOf('\n'), (terminal.lines[0]?.length ?? 0) - 1)
})
