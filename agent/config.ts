import { readFile } from 'node:fs/promises'
import { type ErrorCode, LineCounter, parseDocument } from 'yaml'
import { type Config, parseConfig } from '../core/config.ts'
import { configError } from '../core/config-error.ts'
import { RollcallError } from '../core/error.ts'
import { basenameOf, hostOf, isNodeName, type NodeName, nodeName } from '../core/node.ts'

type Environment = Record<string, string | undefined>

/** Reads and validates a config file, YAML or JSON by its content. Throws `config` for every mistake in it. */
export async function readConfig(file: string, env: Environment): Promise<Config> {
  return parseConfig(parseYaml(await readText(file), file), { file, env })
}

/** This node's name: of the config, else ROLLCALL_NODE, else RELEASE_NODE (which an Elixir or Gleam release sets); undefined without one. */
export function findSelf({ node }: Pick<Config, 'node'>, env: Environment): NodeName | undefined {
  if (node !== undefined) return node
  const variable = ['ROLLCALL_NODE', 'RELEASE_NODE'].find((name) => env[name])
  if (variable === undefined) return undefined
  const name = env[variable]
  if (isNodeName(name)) return nodeName(basenameOf(name), hostOf(name))
  throw new RollcallError(
    'config',
    `[config] ${variable}: expected a node name like app@10.0.0.1, got ${JSON.stringify(name)}`,
  )
}

/** As {@link findSelf}, for who cannot do without: throws `config`. */
export function requireSelf(config: Pick<Config, 'node'>, { file, env }: { file: string; env: Environment }): NodeName {
  const self = findSelf(config, env)
  if (self !== undefined) return self
  const sentence = 'expected the name of this node here, in ROLLCALL_NODE or in RELEASE_NODE, got nothing'
  throw configError(file, ['node'], sentence)
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    const sentence = `expected a config file that can be read, got ${code}: give its place with --config FILE`
    throw new RollcallError('config', `[config] ${file}: ${sentence}`, { cause })
  }
}

// Mistakes of which the parser quotes the text, and a cookie may stand there.
const QUOTED: Partial<Record<ErrorCode, string>> = {
  BAD_DIRECTIVE: 'a directive (%) that is not known',
  BAD_DQ_ESCAPE: 'an escape (\\) that is not known: single quotes know none',
  TAG_RESOLVE_FAILED: 'a tag (!) that is not known: quotes make it text',
}

/** What a text of YAML says, of JSON too. Throws `config` for every mistake in it, and quotes none: a cookie may stand there. */
export function parseYaml(text: string, file: string): unknown {
  const lineCounter = new LineCounter()
  // Pretty errors quote the lines around a mistake, and warnings on stderr keys.
  const document = parseDocument(text, { lineCounter, prettyErrors: false, logLevel: 'error' })
  const [mistake] = [...document.errors, ...document.warnings]
  const position = lineCounter.linePos(mistake?.pos[0] ?? 0)
  const wrong = (what: string) => configError(file, [], `expected YAML or JSON, got a mistake in ${what}`)
  if (mistake !== undefined) {
    // What follows a colon is the text itself.
    const what = QUOTED[mistake.code] ?? mistake.message.replace(/(stream|characters|documents)[:;] .*/s, '$1')
    throw wrong(`line ${position.line}, column ${position.col}: ${what}`)
  }
  try {
    return document.toJS()
  } catch (cause) {
    throw wrong(`an alias (*): ${(cause as Error).message.replace(/: .*/s, '')}`)
  }
}
