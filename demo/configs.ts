/** Where everything listens: nobody else can reach it there. */
export const HOST = '127.0.0.1'

export interface NodeConfigOptions {
  readonly cookie: string
  readonly epmdPort: number
  /** Of the function. */
  readonly url: string
  /** Where the agent answers. */
  readonly listen: string
}

/** What the function is given. */
export function functionConfig(names: readonly string[]): string {
  return `topologies:
  demo:
    interval: 1s
    sources:
      # Who should be in the mesh. A list, so that the demo needs nothing but npm; elsewhere DNS or a cloud knows it.
      # It goes on naming a node that was killed: the others keep dialling it until it is back.
      - static: { nodes: [${names.map((name) => `${name}@${HOST}`).join(', ')}] }
`
}

/** What a node is given. They differ in their names and in where they listen. */
export function nodeConfig(name: string, { cookie, epmdPort, url, listen }: NodeConfigOptions): string {
  return `node: ${name}@${HOST}
distribution:
  beam:
    mode: member # the process itself is the node
    cookie: ${cookie}
    epmd: { port: ${epmdPort} } # no other epmd of this machine is touched
topologies:
  demo:
    interval: 1s
    sources:
      - function: { url: ${url} }
agent:
  listen: ${listen} # GET /v1/plan: its links, and its plan
`
}
