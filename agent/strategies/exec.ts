import { type ExecOptions, execOptionsSchema } from '../../core/config.ts'
import { RollcallError } from '../../core/error.ts'
import { type Member, up } from '../../core/member.ts'
import { isNodeName } from '../../core/node.ts'
import { memberIn, readEntries } from '../../core/sources/entries.ts'
import type { Source } from '../../functions/resolvers/source.ts'
import { runProgram } from '../program.ts'

/**
 * The nodes that a program prints: a name a line, or JSON, a list of names or members or an object with such a list under
 * `members`. Exit 0 and nothing printed means nobody; any other end is a failure. Entries without a node name are left out, and the
 * answer is then `partial`.
 */
export const execSource: Source<ExecOptions> = {
  options: execOptionsSchema,
  async look({ command, timeout }, { source, signal, now }) {
    const at = now()
    const text = await runProgram(command, { part: 'exec', signal, timeoutMs: timeout })
    return { source, at, ...parseOutput(text) }
  },
}

type Answer = { outcome: 'complete'; members: Member[] } | { outcome: 'partial'; members: Member[]; reason: string }

/** What a program's output says. Throws `bad_output` where it says nothing that can be understood. */
export function parseOutput(text: string): Answer {
  const trimmed = text.trim()
  const entries = /^[[{]/.test(trimmed)
    ? jsonEntries(trimmed)
    : trimmed
        .split('\n')
        .map((line) => line.trim())
        .filter(Boolean)
  const { members, flaw } = readEntries(entries, memberOf)
  if (flaw === undefined) return { outcome: 'complete', members }
  if (members.length === 0) throw badOutput(`node names, a line each, or JSON, got others: ${flaw}`)
  return { outcome: 'partial', members, reason: flaw }
}

function jsonEntries(text: string): unknown[] {
  const parsed = parseJson(text)
  const entries = Array.isArray(parsed) ? parsed : (parsed as { members?: unknown }).members
  if (!Array.isArray(entries)) throw badOutput('JSON with a list, or with one under members, got none')
  return entries
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw badOutput(`JSON, for it begins like that, got ${(cause as Error).message}`, cause)
  }
}

function memberOf(entry: unknown): Member | undefined {
  if (isNodeName(entry)) return up(entry)
  if (typeof entry !== 'object') return undefined
  return memberIn({ status: 'up', ...entry })
}

function badOutput(expected: string, cause?: unknown): RollcallError {
  return new RollcallError('bad_output', `[exec] expected ${expected}`, { cause })
}
