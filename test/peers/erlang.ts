import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { parseIpv4 } from '../../core/node.ts'

/** A private epmd, and how to end it. */
export interface Epmd {
  readonly port: number
  readonly pid: number
  stop(): Promise<void>
}

/** A real BEAM node under test. */
export interface Peer {
  readonly node: string
  readonly pid: number
  /** Runs an expression there and gives its value as text (`~0p`, or `inspect` in Elixir); rejects with what was raised. Variables are the call's own. */
  evaluate(expression: string): Promise<string>
  /** What it printed so far, its log included. */
  output(): string
  /** Sends a signal to the process: `SIGSTOP` makes a half-open peer. */
  signal(name: NodeJS.Signals): void
  /** Ends it at once by its pid, and waits for the end. */
  kill(): Promise<void>
}

export interface PeerOptions {
  /** Full name. With a host without a dot or colon it runs with `-sname`, else with `-name`. */
  name: string
  cookie: string
  epmdPort: number
  flags?: readonly string[]
  /** Put before the program and its arguments: the host to run on. */
  enter?: readonly string[]
}

/** A port that was free on every address a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0)
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('expected a TCP port')
  return address.port
}

/** Starts an epmd of its own on `port` (a free one by default) and resolves when it listens. */
export async function startEpmd(
  options: { port?: number; address?: string; enter?: readonly string[] } = {},
): Promise<Epmd> {
  const port = options.port ?? (await freePort())
  const address = options.address === undefined ? [] : ['-address', options.address]
  // With two -d it says when it has bound its sockets; one -d speaks too early.
  const [program = '', ...args] = [...(options.enter ?? []), 'epmd', '-d', '-d', '-port', String(port), ...address]
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  // A BEAM node ends with our end of its stdin; epmd has none to watch.
  const killWithUs = () => child.kill('SIGKILL')
  process.once('exit', killWithUs)
  await lineOf(child, child.stderr, /entering the main select/)
  return {
    port,
    pid: child.pid ?? 0,
    async stop() {
      process.off('exit', killWithUs)
      await end(child)
    },
  }
}

const ERLANG_LOOP = `
  Loop = fun Loop() ->
    case io:get_line("") of
      Line when is_list(Line) ->
        [Id, Code] = string:lexemes(Line, " \\n"),
        spawn(fun() ->
          Text = try
            {ok, Tokens, _} = erl_scan:string(unicode:characters_to_list(base64:decode(Code)) ++ "."),
            {ok, Forms} = erl_parse:parse_exprs(Tokens),
            {value, Value, _} = erl_eval:exprs(Forms, []),
            {"ok", io_lib:format("~0tp", [Value])}
          catch Class:Reason -> {"error", io_lib:format("~0tp", [{Class, Reason}])} end,
          io:format("~n#~s ~s ~s~n", [Id, element(1, Text), base64:encode(unicode:characters_to_binary(element(2, Text)))])
        end),
        Loop();
      _ -> halt(0)
    end
  end,
  io:format("~n#ready~n"), Loop().`

const ELIXIR_LOOP = `
  loop = fn loop ->
    case IO.gets("") do
      line when is_binary(line) ->
        [id, code] = String.split(line)
        spawn(fn ->
          {status, text} =
            try do
              {value, _} = Code.eval_string(Base.decode64!(code))
              {"ok", inspect(value)}
            rescue
              error -> {"error", inspect(error)}
            catch
              kind, reason -> {"error", inspect({kind, reason})}
            end
          IO.puts("\\n##{id} #{status} #{Base.encode64(text)}")
        end)
        loop.(loop)
      _ -> System.halt(0)
    end
  end
  IO.puts("\\n#ready")
  loop.(loop)`

/** Starts an Erlang node, bound to the IPv4 host of its name if it has one, and resolves when it answers. It ends with this process. */
export function startErl(options: PeerOptions): Promise<Peer> {
  return startPeer(options, 'erl', ['-noshell', ...nodeFlags(options), ...(options.flags ?? []), '-eval', ERLANG_LOOP])
}

/** Starts an Elixir node; expressions are Elixir. */
export function startElixir(options: PeerOptions): Promise<Peer> {
  const flags = [...nodeFlags(options), ...(options.flags ?? [])].join(' ')
  return startPeer(options, 'elixir', ['--erl', flags, '-e', ELIXIR_LOOP])
}

function nodeFlags({ name, cookie }: PeerOptions): string[] {
  const host = name.slice(name.indexOf('@') + 1)
  const quad = parseIpv4(host)
  const bound = quad === undefined ? [] : ['-kernel', 'inet_dist_use_interface', `{${quad.join(',')}}`]
  // Without -start_epmd false a node that finds no epmd would leave a daemon of its own behind.
  return [/[.:]/.test(host) ? '-name' : '-sname', name, '-setcookie', cookie, '-start_epmd', 'false', ...bound]
}

async function startPeer(options: PeerOptions, program: string, flags: readonly string[]): Promise<Peer> {
  const env = { ...process.env, ERL_EPMD_PORT: String(options.epmdPort) }
  const [entered = '', ...args] = [...(options.enter ?? []), program, ...flags]
  const child = spawn(entered, args, { env, stdio: ['pipe', 'pipe', 'pipe'] })
  const waiting = new Map<string, { resolve: (text: string) => void; reject: (error: Error) => void }>()
  let output = ''
  let asked = 0
  let ended = false
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stdin.on('error', (error) => (output += String(error)))
  createInterface(child.stdout).on('line', (line) => {
    const [, id, status, code] = /^#(\d+) (ok|error) (\S*)$/.exec(line) ?? []
    if (id === undefined || code === undefined) {
      output += `${line}\n`
      return
    }
    const text = Buffer.from(code, 'base64').toString()
    const { resolve, reject } = waiting.get(id) ?? {}
    waiting.delete(id)
    if (status === 'ok') resolve?.(text)
    else reject?.(new Error(`${options.name}: ${text}`))
  })
  child.once('exit', () => {
    ended = true
    for (const { reject } of waiting.values()) reject(new Error(`${options.name} ended\n${output}`))
  })
  await lineOf(child, child.stdout, /^#ready/)
  return {
    node: options.name,
    pid: child.pid ?? 0,
    evaluate: (expression) =>
      new Promise((resolve, reject) => {
        if (ended) return reject(new Error(`${options.name} has ended`))
        const id = String(++asked)
        waiting.set(id, { resolve, reject })
        child.stdin.write(`${id} ${Buffer.from(expression).toString('base64')}\n`)
      }),
    output: () => output,
    signal: (name) => void child.kill(name),
    kill: () => end(child),
  }
}

function lineOf(child: ChildProcess, stream: NodeJS.ReadableStream, pattern: RegExp): Promise<void> {
  return new Promise((resolve, reject) => {
    let seen = ''
    const onData = (chunk: Buffer) => {
      seen += chunk.toString()
      if (!seen.split('\n').some((line) => pattern.test(line))) return
      stream.off('data', onData)
      child.off('exit', onExit)
      // What nobody reads any more would fill the pipe and stop the program.
      stream.resume()
      resolve()
    }
    const onExit = () => reject(new Error(`${child.spawnargs.join(' ')} ended before it was up:\n${seen}`))
    stream.on('data', onData)
    child.once('exit', onExit)
    child.once('error', reject)
  })
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGKILL')
  await exited
}
