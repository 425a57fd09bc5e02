import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * Puts a CA, a certificate of it for nodes at 127.0.0.1 and another CA (`other.pem`) into a folder. Gives the paths for a dial, and
 * the flags for an `erl` that verifies its peers both ways.
 */
export function makeCertificates(folder: string) {
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' })
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  for (const ca of ['ca', 'other']) {
    openssl('req', '-x509', ...newKey, '-keyout', `${ca}.key`, '-out', `${ca}.pem`, '-subj', `/CN=${ca}`, '-days', '2')
  }
  openssl('req', ...newKey, '-keyout', 'node.key', '-out', 'node.csr', '-subj', '/CN=node')
  writeFileSync(join(folder, 'san'), 'subjectAltName=DNS:127.0.0.1\nbasicConstraints=CA:FALSE\n')
  const signed = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', 'san', '-days', '2']
  openssl('x509', '-req', '-in', 'node.csr', ...signed, '-out', 'node.pem')
  const file = (name: string) => join(folder, name)
  const tls = { ca: file('ca.pem'), cert: file('node.pem'), key: file('node.key') }
  const [ca, cert, key] = [tls.ca, tls.cert, tls.key].map((path) => JSON.stringify(path))
  const pairs = `{cacertfile, ${ca}}, {certfile, ${cert}}, {keyfile, ${key}}, {verify, verify_peer}`
  writeFileSync(file('ssl.conf'), `[{server, [${pairs}, {fail_if_no_peer_cert, true}]}, {client, [${pairs}]}].`)
  return { tls, flags: ['-proto_dist', 'inet_tls', '-ssl_dist_optfile', file('ssl.conf')] }
}
