import { describePlan, type NodeView } from './view.ts'

/** Gives a text a style, or leaves it as it is. */
export type Paint = (style: 'bold' | 'dim' | 'green' | 'red' | 'yellow', text: string) => string

/** The width of what is drawn: every terminal has it. */
export const COLUMNS = 80

/**
 * Draws the mesh, a node a line below a head: whom it is linked to, what epmd knows of it, what its plan says. `now` is in ms
 * since the Unix epoch.
 */
export function drawTable(nodes: readonly NodeView[], { now, paint }: { now: number; paint: Paint }): string[] {
  const head = ` node      pid  ${nodes.map(({ name }) => name.padEnd(3)).join(' ')}  epmd        `
  const rows = nodes.map((node) => {
    const name = node.name.padEnd(4)
    const pid = String(node.pid ?? 'gone').padStart(7)
    const left = ` ${node.pid === undefined ? paint('red', `${name}  ${pid}`) : `${name}  ${pid}`}`
    const plan = clip(describePlan(node, now), COLUMNS - head.length)
    const style = plan === 'nothing to do' ? 'dim' : 'yellow'
    return `${left}  ${drawLinks(node, nodes, paint)}  ${drawEpmd(node, paint)}  ${paint(style, plan)}`.trimEnd()
  })
  return [paint('bold', `${head}plan`), ...rows]
}

/** A line of text that fits. */
export function clip(text: string, columns = COLUMNS): string {
  return text.length <= columns ? text : `${text.slice(0, columns - 1)}…`
}

function drawLinks({ name, pid, links }: NodeView, nodes: readonly NodeView[], paint: Paint): string {
  const cells = nodes.map((peer) => {
    if (pid === undefined) return '   '
    if (peer.name === name) return paint('dim', ' · ')
    return links.includes(peer.name) ? paint('green', ' ● ') : paint('red', ' ○ ')
  })
  return cells.join(' ')
}

function drawEpmd({ pid, isInEpmd, servesEpmd }: NodeView, paint: Paint): string {
  if (pid !== undefined && servesEpmd) return paint('bold', 'serves it ')
  return isInEpmd ? 'registered' : paint('dim', '-         ')
}
