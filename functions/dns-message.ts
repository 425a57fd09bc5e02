import { decode, encode, RECURSION_DESIRED } from 'dns-packet'
import type { RollcallError } from '../core/error.ts'
import { type DnsMessage, type DnsQuestion, dnsError } from '../core/sources/dns.ts'

// The size that passes every path unfragmented (DNS flag day 2020).
const UDP_BYTES = 1_232

/** The bytes of a question. */
export function encodeQuestion({ name, type }: DnsQuestion, id: number): Uint8Array {
  return encode({
    type: 'query',
    id,
    flags: RECURSION_DESIRED,
    questions: [{ name, type, class: 'IN' }],
    additionals: [
      {
        type: 'OPT',
        name: '.',
        udpPayloadSize: UDP_BYTES,
        extendedRcode: 0,
        ednsVersion: 0,
        flags: 0,
        flag_do: false,
        options: [],
      },
    ],
  })
}

/** What the bytes say, where they answer the question of that id; throws `dns_malformed` where they do not. */
export function decodeMessage(bytes: Buffer, id: number, server: string): DnsMessage {
  let message: DnsMessage
  try {
    message = decode(bytes)
  } catch (cause) {
    throw malformed(server, `${bytes.length} bytes that are none`, cause)
  }
  // dns-packet reads an address beyond the end without complaint.
  if (decode.bytes > bytes.length) throw malformed(server, `${bytes.length} bytes of ${decode.bytes}`)
  if (message.id !== id) throw malformed(server, 'the answer to another question')
  return message
}

/** Nobody answered in time. */
export function timeout({ type, name }: DnsQuestion, server: string): RollcallError {
  return dnsError(
    'dns_timeout',
    `an answer for ${type} ${name} from ${server} in time, got none: is it reachable from here?`,
  )
}

/** What came is no answer. */
export function malformed(server: string, got: string, cause?: unknown): RollcallError {
  return dnsError('dns_malformed', `a DNS message from ${server}, got ${got}`, { cause })
}
