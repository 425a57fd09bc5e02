import { pino } from 'pino'
import type { Config } from '../core/config.ts'
import type { Log } from '../functions/resolvers/source.ts'

const STDERR = 2

/** A log on stderr: JSON lines, or a line for a person where it is a terminal. */
export function createLog(
  level: Config['log']['level'],
  terminal: { isTTY?: boolean; write(text: string): unknown } = process.stderr,
): Log {
  const options = { level, base: null, timestamp: pino.stdTimeFunctions.isoTime }
  if (terminal.isTTY) return pino(options, { write: (line) => void terminal.write(humanLine(line)) })
  // Synchronous, so that the last line before an end is not lost.
  const destination = pino.destination({ fd: STDERR, sync: true })
  // Nobody reads any more, so nobody can be told.
  destination.on('error', () => undefined)
  return pino(options, destination)
}

function humanLine(line: string): string {
  const { level, time, msg, err, ...fields } = JSON.parse(line)
  const details = Object.entries({ ...fields, ...(err && { error: err.message }) })
  const text = details.map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
  const whole = `${time.slice(11, 23)} ${pino.levels.labels[level]?.padEnd(5)} ${msg}  ${text.join(' ')}`
  // What a source or a peer said must not steer the terminal.
  return `${whole.replace(/\p{Cc}/gu, '?')}\n`
}
