/** One cell of the chart. */
export interface Cell {
  readonly scenario: string
  readonly contender: string
  readonly seconds: number
}

// As much of the libraries as is used: they are installed for the report alone (npm ci --prefix test/sim).
interface Plot {
  readonly plot: (options: object) => {
    readonly setAttribute: (name: string, value: string) => void
    readonly outerHTML: string
  }
  readonly cell: (data: readonly Cell[], options: object) => unknown
  readonly text: (data: readonly Cell[], options: object) => unknown
}

interface Dom {
  readonly parseHTML: (html: string) => { document: unknown }
}

/** An SVG of how long each policy had a wrong mesh in each scenario: the darker, the longer. Throws where the chart's library is not installed. */
export async function chart(cells: readonly Cell[]): Promise<string> {
  const [plot, dom]: [string, string] = ['@observablehq/plot', 'linkedom']
  const { plot: draw, cell, text }: Plot = await import(plot)
  const { parseHTML }: Dom = await import(dom)
  const { document } = parseHTML('<!doctype html><body></body>')
  const at = { x: 'contender', y: 'scenario' }
  const svg = draw({
    document,
    width: 820,
    marginLeft: 250,
    marginTop: 40,
    x: { axis: 'top', label: null, domain: [...new Set(cells.map(({ contender }) => contender))] },
    y: { label: null, domain: [...new Set(cells.map(({ scenario }) => scenario))] },
    color: { type: 'symlog', scheme: 'OrRd' },
    style: { background: 'white', color: 'black' },
    marks: [
      cell(cells, { ...at, fill: 'seconds', inset: 0.5 }),
      text(cells, {
        ...at,
        text: ({ seconds }: Cell) => `${seconds} s`,
        fill: ({ seconds }: Cell) => (seconds > 200 ? 'white' : 'black'),
      }),
    ],
  })
  svg.setAttribute('xmlns', 'http://www.w3.org/2000/svg')
  return svg.outerHTML
}
