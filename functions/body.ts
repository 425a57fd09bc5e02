/** The bytes of a body; undefined where there are more than `maxBytes`, and the rest of them is not read. */
export async function readBody(body: Request['body'], maxBytes: number): Promise<Buffer | undefined> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of body ?? []) {
    length += chunk.length
    if (length > maxBytes) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
