import type { Hono } from 'hono'
import { RollcallError } from '../core/error.ts'
import { LOG_LEVELS, parseServedConfig } from '../core/served-config.ts'
import { type AppOptions, type Bindings, createApp } from './app.ts'
import { problem } from './problem.ts'
import type { Log } from './resolvers/source.ts'

/** The environment of an edge host: variables and secrets by name. */
export type Env = Record<string, unknown>

export interface EdgeOptions
  extends Pick<AppOptions, 'loaders' | 'stores' | 'reach' | 'patienceMs' | 'waits' | 'elsewhere' | 'routes'> {
  /** What the config may name: by default those sources that any host can ask. */
  sources?: Parameters<typeof parseServedConfig>[2]
}

type Level = (typeof LOG_LEVELS)[number]

/**
 * The app of an edge host, configured by the JSON in `ROLLCALL_CONFIG`. A config that is wrong cannot stop such a host:
 * every call is answered 503 `config`, and the log has the sentence that says what is wrong.
 */
export function createEdgeApp(env: Env, { sources, ...options }: EdgeOptions): Hono<{ Bindings: Bindings }> {
  try {
    const origin = { file: 'ROLLCALL_CONFIG', env }
    const { topologies, auth, log } = parseServedConfig(read(env.ROLLCALL_CONFIG), origin, sources)
    return createApp({ ...options, topologies, auth, log: createConsoleLog(log.level) })
  } catch (error) {
    if (!(error instanceof RollcallError)) throw error
    const log = createConsoleLog('error')
    log.error({ code: error.code }, error.message)
    return createApp({ ...options, topologies: {}, log, admit: refuse })
  }
}

function read(text: unknown): unknown {
  if (typeof text !== 'string') {
    throw new RollcallError('config', '[config] expected the config as JSON in ROLLCALL_CONFIG, got no such variable')
  }
  try {
    return JSON.parse(text)
  } catch (cause) {
    // What the parser says quotes the text, and the text may hold a secret.
    throw new RollcallError('config', '[config] expected JSON in ROLLCALL_CONFIG, got something that does not parse', {
      cause,
    })
  }
}

function refuse(): never {
  const sentence = 'a valid ROLLCALL_CONFIG, got another: the log of the function says what is wrong'
  throw problem('config', 'function', sentence)
}

/** A log of JSON lines on the console, which is where an edge host collects them. */
function createConsoleLog(least: Level): Log {
  const write = (level: Level) =>
    LOG_LEVELS.indexOf(level) < LOG_LEVELS.indexOf(least)
      ? () => {}
      : (fields: object, message: string) => {
          // oxlint-disable-next-line no-console -- the one place that stands for it
          console.log(JSON.stringify({ level, message, ...fields }, errorsAsText))
        }
  return { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') }
}

function errorsAsText(_key: string, value: unknown): unknown {
  return value instanceof Error ? value.stack : value
}
