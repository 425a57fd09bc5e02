import { createHash, randomBytes } from 'node:crypto'
import { printJson } from './print.ts'

/** Prints a new token of 32 random bytes with its hash, and the config lines they go into. Neither is kept. */
export async function token({ json = false }: { json?: boolean }): Promise<number> {
  const made = randomBytes(32).toString('base64url')
  const sha256 = createHash('sha256').update(made).digest('hex')
  if (json) printJson({ token: made, sha256 })
  else process.stdout.write(explain(made, sha256))
  return 0
}

function explain(made: string, sha256: string): string {
  return `token   ${made}
sha256  ${sha256}

The function's config knows the hash only:

auth:
  - { name: agents, sha256: ${sha256}, topologies: [web], verbs: [read, plan] }

The caller keeps the token, here in the environment as ROLLCALL_TOKEN:

  - function: { url: https://discovery.example.com, token: "\${ROLLCALL_TOKEN}" }
`
}
