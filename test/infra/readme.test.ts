import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { parse } from 'yaml'
import { parseConfig } from '../../core/config.ts'
import { type Served, serve } from '../../functions/node.ts'
import { readDeployment } from '../../infra/aws/deployment.ts'
import { createFakeLog } from '../agent/fakes.ts'
import { missingPrograms } from '../peers/programs.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const CLI = join(ROOT, 'agent/cli.ts')
const WAYS = ['AWS Lambda', 'Cloudflare Workers', 'Node, with systemd', 'Node, with Docker']
// `name   1 + 2 = 3`: a name of words, then nothing but numbers and signs.
const SUM = /^ *[A-Za-z][\w, -]*? +([\d(][\d.()*/+ -]*) = ([\d.]+)$/
const run = promisify(execFile)

interface Manifest {
  readonly name: string
  readonly version: string
  readonly scripts: Record<string, string>
}

let readme: string

/** The fenced blocks of a language in a text, in order. */
function blocks(text: string, language: string): string[] {
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms'))].map(([, body = '']) => body)
}

function section(title: string): string {
  const [, text] = new RegExp(`^## ${title}\\n(.*?)(?=^## |$(?![^]))`, 'ms').exec(readme) ?? []
  return text ?? assert.fail(`expected a section ${title}`)
}

/** The lines of its first block, without their comments. */
function commands(title: string): string[] {
  const [block = ''] = blocks(section(title), 'sh')
  return block
    .trim()
    .split('\n')
    .map((line) => line.replace(/\s+# .*$/, ''))
}

async function manifest(folder: string): Promise<Manifest> {
  return JSON.parse(await readFile(join(ROOT, folder, 'package.json'), 'utf8')) as Manifest
}

before(async () => {
  readme = await readFile(join(ROOT, 'infra/README.md'), 'utf8')
})

describe('infra/README.md', () => {
  test('takes at most five commands for each way, the last of them the check', () => {
    for (const title of WAYS) {
      const lines = commands(title)
      assert.ok(lines.length <= 5, `${title}: ${lines.length}`)
      assert.match(lines.at(-1) ?? '', /^curl /, title)
      assert.ok(
        lines.some((line) => /rollcall (?:-- )?token$/.test(line)),
        title,
      )
    }
  })

  test('has a config that every host serves', () => {
    const [config = ''] = blocks(readme, 'yaml')
    assert.deepEqual(Object.keys(parseConfig(parse(config), { file: 'README', env: {} }).topologies), ['web'])
    assert.deepEqual(readDeployment(config, { file: 'README', env: {} }).variables, [])
  })

  test('names scripts, files and a package that there are', async () => {
    const [root, aws] = await Promise.all([manifest('.'), manifest('infra/aws')])
    const scripts = [...readme.matchAll(/npm run (\w+)/g)].map(([, name = '']) => name)
    assert.ok(scripts.length > 5)
    for (const name of scripts) assert.ok((name === 'rollcall' ? root : aws).scripts[name] !== undefined, name)
    assert.match(readme, new RegExp(`/${root.name}-${root.version}\\.tgz`))
    const links = [...readme.matchAll(/\]\((?!https:|#)([^)]+)\)/g)].map(([, path = '']) => path)
    assert.ok(links.length > 3)
    for (const path of links) assert.ok(existsSync(join(ROOT, 'infra', path)), path)
  })

  test('reckons right', () => {
    const lines = blocks(section('What it costs'), 'text').flatMap((block) => block.trimEnd().split('\n'))
    assert.ok(lines.length > 30)
    for (const line of lines) {
      const [, expression = assert.fail(`expected a sum, got ${line}`), result = ''] = SUM.exec(line) ?? []
      const decimals = result.split('.')[1]?.length ?? 0
      assert.ok(Math.abs(calculate(expression) - Number(result)) <= 0.5 * 10 ** -decimals + 1e-9, line)
    }
  })

  test('says in its table what it reckons', () => {
    const sums = [...section('What it costs').matchAll(/^ *sum .* = ([\d.]+)$/gm)].map(
      ([, sum]) => `$${Number(sum).toFixed()}`,
    )
    const [, row = ''] = /^\| cost for 1,000 agents.*?\|(.*)\|$/m.exec(readme) ?? []
    assert.deepEqual(
      [...row.matchAll(/\$\d+/g)].map(([price]) => price),
      sums.slice(0, 3),
    )
  })
})

describe('what infra/README.md tells to type', () => {
  let folder: string
  let file: string
  let token: string
  let served: Served

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'rollcall-readme-'))
    file = join(folder, 'rollcall.yaml')
    const { stdout } = await run(process.execPath, [CLI, 'token'])
    token = /^token\s+(\S+)$/m.exec(stdout)?.[1] ?? assert.fail(`expected a token, got ${stdout}`)
    const entry = /^ +- \{ name: agents.*$/m.exec(stdout)?.[0] ?? assert.fail(`expected an entry, got ${stdout}`)
    const [config = ''] = blocks(readme, 'yaml')
    await writeFile(file, config.replace(/^ +- \{ name: agents.*$/m, entry))
    const parsed = parseConfig(parse(await readFile(file, 'utf8')), { file, env: {} })
    served = await serve({ config: parsed, log: createFakeLog(), port: 0 })
  })
  after(async () => {
    await served.close()
    await rm(folder, { recursive: true })
  })

  test('asks the function with the token, and gets the members', { skip: missingPrograms('curl') }, async () => {
    for (const title of WAYS) {
      const command = (commands(title).at(-1) ?? '').replace('http://127.0.0.1:8787', served.url)
      // Lambda's URL ends with a slash, that of a Worker does not.
      for (const url of [served.url, `${served.url}/`]) {
        const env = { PATH: process.env.PATH, ROLLCALL_TOKEN: token, URL: url }
        const { stdout } = await run('sh', ['-c', command], { env })
        const { members } = JSON.parse(stdout) as { members: { node: string }[] }
        assert.deepEqual(
          members.map(({ node }) => node),
          ['app@10.0.0.5', 'app@10.0.0.6'],
          title,
        )
      }
    }
  })

  test('is what the unit of systemd runs', async (t) => {
    const [, line = ''] = /^ExecStart=\/usr\/bin\/env rollcall (.*)$/m.exec(readme) ?? []
    const args = line.replace('/etc/rollcall/rollcall.yaml', file).replace('8787', '0').split(' ')
    // At its own level it does not say where it listens.
    await writeFile(join(folder, 'loud.yaml'), (await readFile(file, 'utf8')).replace('level: warn', 'level: info'))
    const loud = args.map((arg) => (arg === file ? join(folder, 'loud.yaml') : arg))
    const child = spawn(process.execPath, [CLI, ...loud], { stdio: ['ignore', 'ignore', 'pipe'] })
    t.after(() => child.kill('SIGKILL'))
    for await (const text of createInterface(child.stderr)) {
      const [, url] = /"url":"(http:\/\/127\.0\.0\.1:\d+)"/.exec(text) ?? []
      if (url === undefined) continue
      const answer = await fetch(`${url}/v1/topologies`, { headers: { Authorization: `Bearer ${token}` } })
      assert.equal(answer.status, 200)
      return
    }
    assert.fail('expected it to serve, and it ended')
  })
})

/** The value of a sum of numbers, `+ - * /` and brackets. */
function calculate(expression: string): number {
  const tokens = expression.match(/[\d.]+|[-+*/()]/g) ?? []
  let next = 0

  function sum(): number {
    let value = product()
    while (tokens[next] === '+' || tokens[next] === '-') value += tokens[next++] === '+' ? product() : -product()
    return value
  }

  function product(): number {
    let value = factor()
    while (tokens[next] === '*' || tokens[next] === '/') value *= tokens[next++] === '*' ? factor() : 1 / factor()
    return value
  }

  function factor(): number {
    const token = tokens[next++]
    if (token !== '(') return Number(token)
    const value = sum()
    next++
    return value
  }

  return sum()
}
