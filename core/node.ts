/** A mesh member's full name, `basename@host`. ASCII, at most 255 bytes, as Erlang's distribution takes them. */
export type NodeName = string

// Printable ASCII on both sides of exactly one `@`, no space: what a name may be in the handshake, in epmd and in a log line.
const NODE_NAME = /^[!-?A-~]+@[!-?A-~]+$/

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
  if (!text.includes(':') || !/^[0-9a-fA-F:.]+$/.test(text)) return undefined
  const [head = '', tail, ...more] = text.split('::')
  if (more.length > 0) return undefined
  const left = parseGroups(head, tail === undefined)
  const right = tail === undefined ? [] : parseGroups(tail, true)
  if (left === undefined || right === undefined) return undefined
  const missing = 8 - left.length - right.length
  if (tail === undefined ? missing !== 0 : missing < 1) return undefined
  return [...left, ...Array.from({ length: missing }, () => 0), ...right]
}

/** The dotted quad as a number of 0 to 255 each, or undefined. Leading zeros are refused: some read them as octal. */
export function parseIpv4(text: string): number[] | undefined {
  const parts = text.split('.')
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part))) return undefined
  const bytes = parts.map(Number)
  return bytes.every((byte) => byte <= 255) ? bytes : undefined
}

function parseGroups(text: string, last: boolean): number[] | undefined {
  if (text === '') return []
  const groups: number[] = []
  const parts = text.split(':')
  for (const [index, part] of parts.entries()) {
    if (last && index === parts.length - 1 && part.includes('.')) {
      const quad = parseIpv4(part)
      if (quad === undefined) return undefined
      const [a = 0, b = 0, c = 0, d = 0] = quad
      groups.push(a * 256 + b, c * 256 + d)
      continue
    }
    if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return undefined
    groups.push(Number.parseInt(part, 16))
  }
  return groups
}

/** RFC 5952: lower case, no leading zeros, the first longest run of two or more zero groups as `::`, IPv4-mapped dotted. */
export function formatIpv6(groups: readonly number[]): string {
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    const [high = 0, low = 0] = groups.slice(6)
    return `::ffff:${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`
  }
  let [start, length] = [-1, 1]
  for (let from = 0; from < 8; from++) {
    let to = from
    while (to < 8 && groups[to] === 0) to++
    if (to - from > length) [start, length] = [from, to - from]
    from = Math.max(from, to - 1)
  }
  const hex = (part: readonly number[]) => part.map((group) => group.toString(16)).join(':')
  return start < 0 ? hex(groups) : `${hex(groups.slice(0, start))}::${hex(groups.slice(start + length))}`
}

/** Whether a host, an IPv6 address bare or in brackets, is this machine to itself alone. */
export function isLoopback(host: string): boolean {
  if (host.toLowerCase() === 'localhost') return true
  const bare = host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host
  const groups = parseIpv6(bare)
  return groups === undefined ? parseIpv4(bare)?.[0] === 127 : groups.join() === '0,0,0,0,0,0,0,1'
}
