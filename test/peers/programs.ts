import { execFileSync } from 'node:child_process'

const PACKAGES: Record<string, string> = {
  erl: 'erlang-base erlang-ssl erlang-public-key erlang-crypto erlang-asn1',
  elixir: 'elixir',
  named: 'bind9',
  nsupdate: 'bind9-dnsutils',
  dnsdist: 'dnsdist',
  openssl: 'openssl',
  ip: 'iproute2',
  nft: 'nftables',
}
/** Those that Debian does not have. */
const SCRIPTS: Record<string, string> = {
  consul: '.ci/consul, which has go build it',
  moto_server: "pip install 'moto[server]'",
}

/**
 * Whether a test that needs these programs must be skipped: `false`, or one line that names what to install.
 * Under `PEERS=required` a missing program is an error, so that a skip cannot pass for a success.
 */
export function missingPrograms(...programs: string[]): string | false {
  const missing = programs.filter((program) => !isInstalled(program))
  if (missing.length === 0) return false
  const packages = missing.filter((program) => SCRIPTS[program] === undefined)
  const ways = [
    ...(packages.length === 0 ? [] : [`apt-get install ${packages.map((name) => PACKAGES[name] ?? name).join(' ')}`]),
    ...missing.flatMap((program) => SCRIPTS[program] ?? []),
  ]
  const line = `needs ${missing.join(', ')}: ${ways.join(', ')}`
  if (process.env.PEERS === 'required') throw new Error(`PEERS=required, and this test ${line}`)
  return line
}

function isInstalled(program: string): boolean {
  try {
    execFileSync('sh', ['-c', `command -v ${program}`], {
      stdio: 'ignore',
      env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
    })
    return true
  } catch {
    return false
  }
}
