import { RollcallError } from '../../core/error.ts'

// A pod with all its managed fields is some 20 deep.
const MAX_DEPTH = 64
const MAX_PARTS = 1_000
const QUOTE = 0x22
const BACKSLASH = 0x5c
const LINE_FEED = 0x0a

/** The first `maxBytes` of a stream as text: enough of what is only quoted. */
export async function readStart(chunks: AsyncIterable<Uint8Array>, maxBytes: number): Promise<string> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of chunks) {
    parts.push(chunk)
    bytes += chunk.byteLength
    if (bytes >= maxBytes) break
  }
  return Buffer.concat(parts).toString('utf8', 0, maxBytes)
}

/**
 * The lines of a stream as they come. What follows the last line break is half a line, and dropped: the connection was cut
 * there. Throws `bad_answer` at a line beyond `maxBytes`.
 */
export async function* readLines(chunks: AsyncIterable<Uint8Array>, maxBytes: number): AsyncGenerator<string> {
  let parts: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of chunks) {
    let from = 0
    for (let end = chunk.indexOf(LINE_FEED); end >= 0; end = chunk.indexOf(LINE_FEED, from)) {
      if (bytes + end - from > maxBytes) throw badAnswer(`lines of at most ${maxBytes} bytes, got a longer one`)
      const line = Buffer.concat([...parts, chunk.subarray(from, end)]).toString()
      parts = []
      bytes = 0
      from = end + 1
      if (line.trim() !== '') yield line
    }
    const rest = chunk.subarray(from)
    bytes += rest.byteLength
    if (bytes > maxBytes) throw badAnswer(`lines of at most ${maxBytes} bytes, got a longer one`)
    if (rest.byteLength > 0) parts.push(rest)
    // A line that comes byte by byte would take a hundred times its size.
    if (parts.length > MAX_PARTS) parts = [Buffer.concat(parts)]
  }
}

/** What a text of JSON says. Throws `bad_answer` where it is none, or is nested deeper than any object of the API. */
export function parseJson(text: string): unknown {
  if (isDeep(text)) throw badAnswer(`JSON at most ${MAX_DEPTH} deep, got deeper`)
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw badAnswer(`JSON, got ${JSON.stringify(text.slice(0, 40))}`, cause)
  }
}

/** Whether brackets are nested beyond the limit: a parser takes memory for each, far more than the byte that it costs to send. */
function isDeep(text: string): boolean {
  let depth = 0
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index)
    if (code === QUOTE) index = endOfText(text, index + 1)
    // `[` is `{` without one bit, and `]` is `}` without it.
    else if ((code | 0x20) === 0x7b && ++depth > MAX_DEPTH) return true
    else if ((code | 0x20) === 0x7d) depth--
  }
  return false
}

/** Where the text that begins at `from` has its closing quote; the end where it has none. */
function endOfText(text: string, from: number): number {
  for (let end = text.indexOf('"', from); end >= 0; end = text.indexOf('"', end + 1)) {
    let escapes = 0
    while (text.charCodeAt(end - 1 - escapes) === BACKSLASH) escapes++
    if (escapes % 2 === 0) return end
  }
  return text.length
}

function badAnswer(expected: string, cause?: unknown): RollcallError {
  const message = `[kubernetes] expected ${expected}: is it a Kubernetes API server?`
  return new RollcallError('bad_answer', message, { cause })
}
