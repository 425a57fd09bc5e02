import { styleText } from 'node:util'
import { COLUMNS, clip, drawTable, type Paint } from './table.ts'
import { describeNode, type NodeView } from './view.ts'

/** What the person sees. */
export interface Screen {
  /** How long it takes a person to see what has happened. */
  readonly readingMs: number
  /** The mesh as it is now. */
  show(nodes: readonly NodeView[]): void
  /** The story goes on. */
  tell(sentence: string): void
  /** The story is over. */
  close(): void
}

// The table with its head, the footer, blank lines between, and some of the story.
const MIN_ROWS = 16
const HIDE_CURSOR = '\x1b[?25l'
const SHOW_CURSOR = '\x1b[?25h'
const CLEAR_LINE = '\x1b[K'
const CLEAR_BELOW = '\x1b[J'

/** A live table above the story, on a terminal that has room for it; else a line for each change. */
export function openScreen(output: NodeJS.WriteStream, footer: readonly string[]): Screen {
  const startedAt = performance.now()
  const stamp = () => `${((performance.now() - startedAt) / 1_000).toFixed(1).padStart(6)} s`
  const hasRoom = rowsOf(output) >= MIN_ROWS && (output.columns || COLUMNS) >= COLUMNS
  const isLive = output.isTTY && process.env['TERM'] !== 'dumb'
  return isLive && hasRoom ? openTable(output, footer, stamp) : openLines(output, stamp)
}

/** A terminal that does not say how large it is (`script`, say) has 24 rows of 80, as the first ones had. */
function rowsOf({ rows }: NodeJS.WriteStream): number {
  return rows || 24
}

function openTable(output: NodeJS.WriteStream, footer: readonly string[], stamp: () => string): Screen {
  // Without colours where NO_COLOR says so.
  const paint: Paint = (style, text) => styleText(style, text, { stream: output })
  const story: string[] = []
  let nodes: readonly NodeView[] = []
  let below = footer
  let shown: readonly string[] = []

  function draw(): void {
    const table = nodes.length === 0 ? [] : [...drawTable(nodes, { now: Date.now(), paint }), '']
    const room = rowsOf(output) - table.length - below.length - 3
    const lines = ['', ...table, ...story.slice(-room), '', ...below.map((line) => paint('dim', clip(line)))]
    if (lines.join('\n') === shown.join('\n')) return
    // In place and in one write, each line over the one before: nothing flickers.
    const up = shown.length === 0 ? '' : `\x1b[${shown.length}A`
    output.write(`${up}\r${lines.map((line) => `${line}${CLEAR_LINE}\n`).join('')}${CLEAR_BELOW}`)
    shown = lines
  }

  function start(): void {
    // What was drawn has other line breaks now.
    output.write('\x1b[2J\x1b[H')
    shown = []
    draw()
  }

  output.write(HIDE_CURSOR)
  process.once('exit', () => output.write(SHOW_CURSOR))
  output.on('resize', start)
  return {
    readingMs: 2_000,
    show(given) {
      nodes = given
      draw()
    },
    tell(sentence) {
      story.push(clip(`${stamp()}  ${sentence}`))
      draw()
    },
    close() {
      below = []
      draw()
      output.off('resize', start)
    },
  }
}

function openLines(output: NodeJS.WriteStream, stamp: () => string): Screen {
  const told = new Map<string, string>()
  return {
    // Lines stay, and can be read later.
    readingMs: 500,
    show(nodes) {
      for (const node of nodes) {
        const text = describeNode(node)
        if (told.get(node.name) !== text) output.write(`${stamp()}    ${text}\n`)
        told.set(node.name, text)
      }
    },
    tell: (sentence) => void output.write(`${stamp()}  ${sentence}\n`),
    close: () => undefined,
  }
}
