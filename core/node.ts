/** A mesh member's full name, `basename@host`. ASCII, at most 255 bytes, as Erlang's distribution takes them. */
export type NodeName = string

// Printable ASCII on both sides of exactly one `@`, no space: what a name may be in the handshake, in epmd and in a log line.
const NODE_NAME = /^[!-?A-~]+@[!-?A-~]+$/

// Eight groups of four, the last two of them as a dotted quad. What is longer may be long enough to exhaust the stack as arguments.
const MAX_IPV6_CHARACTERS = 45

/** Whether `text` can be a node name: exactly one `@`, both sides non-empty, printable ASCII, at most 255 bytes. */
export function isNodeName(text: unknown): text is NodeName {
  return typeof text === 'string' && text.length <= 255 && NODE_NAME.test(text)
}

/** The part before the `@`. */
export function basenameOf(node: NodeName): string {
  return node.slice(0, node.indexOf('@'))
}

/** The part after the `@`. */
export function hostOf(node: NodeName): string {
  return node.slice(node.indexOf('@') + 1)
}

/** `basename@host`, an IPv6 host in RFC 5952 form. The result may still be no {@link isNodeName}. */
export function nodeName(basename: string, host: string): NodeName {
  return `${basename}@${canonicalHost(host)}`
}

/** A host as it stands in a node name: IPv6 in RFC 5952 form without brackets, anything else as it is. */
export function canonicalHost(host: string): string {
  const bare = host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host
  const groups = parseIpv6(bare)
  return groups === undefined ? bare : formatIpv6(groups)
}

/** The eight 16-bit groups of an IPv6 address in any text form of RFC 4291, or undefined. A zone (`%eth0`) is none. */
export function parseIpv6(text: string): number[] | undefined {
  const lastAt = text.lastIndexOf(':') + 1
  if (lastAt === 0 || text.length > MAX_IPV6_CHARACTERS) return undefined
  const quad = parseIpv4(text.slice(lastAt))
  const plain = quad === undefined ? text : text.slice(0, lastAt) + hexOf(groupsOf(quad))
  const [left = [], right, ...more] = plain.split('::').map((part) => (part === '' ? [] : part.split(':')))
  const groups = [...left]
  if (right !== undefined) {
    // `::` stands for one group at least.
    const zeros = Math.max(1, 8 - left.length - right.length)
    groups.push(...Array.from({ length: zeros }, () => '0'), ...right)
  }
  if (more.length > 0 || groups.length !== 8 || !groups.every((group) => /^[0-9a-f]{1,4}$/i.test(group)))
    return undefined
  return groups.map((group) => Number.parseInt(group, 16))
}

/** The dotted quad as a number of 0 to 255 each, or undefined. Leading zeros are refused: some read them as octal. */
export function parseIpv4(text: string): number[] | undefined {
  const parts = text.split('.')
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part))) return undefined
  const bytes = parts.map(Number)
  return bytes.every((byte) => byte <= 255) ? bytes : undefined
}

function groupsOf([a = 0, b = 0, c = 0, d = 0]: readonly number[]): number[] {
  return [a * 256 + b, c * 256 + d]
}

function hexOf(groups: readonly number[]): string {
  return groups.map((group) => group.toString(16)).join(':')
}

/** RFC 5952: lower case, no leading zeros, the first longest run of two or more zero groups as `::`, IPv4-mapped dotted. */
export function formatIpv6(groups: readonly number[]): string {
  const text = hexOf(groups)
  const [, high = 0, low = 0] = groups.slice(5)
  if (text.startsWith('0:0:0:0:0:ffff:')) return `::ffff:${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`
  const runs = [...text.matchAll(/\b0(:0)+\b/g)]
  const [longest] = runs.toSorted(([a], [b]) => b.length - a.length)
  if (longest === undefined) return text
  const { 0: zeros, index } = longest
  return `${text.slice(0, index)}::${text.slice(index + zeros.length)}`.replace(/:{3,}/, '::')
}

/** Whether a host, an IPv6 address bare or in brackets, is this machine to itself alone. */
export function isLoopback(host: string): boolean {
  if (host.toLowerCase() === 'localhost') return true
  const bare = host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host
  const groups = parseIpv6(bare)
  return groups === undefined ? parseIpv4(bare)?.[0] === 127 : groups.join() === '0,0,0,0,0,0,0,1'
}
