/** Prints lines for a person. What a source or a peer said must not steer the terminal, so control characters become `?`. */
export function printLines(lines: readonly string[], stream: NodeJS.WriteStream = process.stdout): void {
  stream.write(lines.map((line) => `${line.replace(/\p{Cc}/gu, '?')}\n`).join(''))
}

/** Prints one JSON document for a program. */
export function printJson(document: object): void {
  process.stdout.write(`${JSON.stringify(document, undefined, 2)}\n`)
}
