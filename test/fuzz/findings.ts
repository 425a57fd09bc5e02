import { atom, encode, type Pid, type Ref, type Term, tuple } from '../../agent/beam/etf.ts'
import { joinParts } from './target.ts'

/** An input that once broke a promise of a target. */
export interface OldFinding {
  readonly target: string
  /** What it did. */
  readonly what: string
  readonly input: Uint8Array | string
}

const evil: Pid = { type: 'pid', node: 'evil@127.0.0.9', id: 1, serial: 0, creation: 5 }
const ref: Ref = { type: 'ref', node: evil.node, creation: 5, words: [1] }

function nested(depth: number): Term {
  return depth === 0 ? [] : [nested(depth - 1)]
}

/** A call of an exposed function, or of one that is not, by `erpc`. */
function erpc(module: string, name: string, args: Term[]): Uint8Array {
  const target = tuple(atom('erpc'), atom('execute_call'), 4)
  const control = tuple(29, ref, evil, evil, target, [atom('monitor')])
  return Buffer.concat([Buffer.of(112), encode(control), encode([ref, atom(module), atom(name), args])])
}

function stateOf(source: string): string {
  const web = `{"clock":1,"formed":false,"removed":[],"removalClocks":[],"reported":[],"sources":{"only":${source}}}`
  return `{"version":1,"self":"n1@h","at":1,"topologies":{"web":${web}},"peers":{}}`
}

function numbered(count: number, entry: (index: number) => string): string {
  return Array.from({ length: count }, (_, index) => entry(index)).join()
}

export const oldFindings: readonly OldFinding[] = [
  {
    target: 'config',
    what: 'an escape with a newline in it broke the sentence about it in two',
    input: '["","\\u\n',
  },
  {
    target: 'config',
    what: 'a cookie that begins with an exclamation mark stood in the sentence about it',
    input: 'distribution: { beam: { cookie: !hunter2 } }\n',
  },
  {
    target: 'connected',
    what: 'arguments near the deepest, sent back in the error of a call, ended the process',
    input: joinParts([Buffer.of(0), erpc('math', 'none', [nested(510)])]),
  },
  {
    target: 'connected',
    what: 'a value of a function that was nested to the deepest ended the process',
    input: joinParts([Buffer.of(0), erpc('math', 'wrap', [nested(509)])]),
  },
  {
    target: 'state',
    what: 'a node called toString had a number of attempts that is none',
    input: stateOf('{"listed":["toString"],"missing":{},"details":{},"leavingClocks":{},"returnedClocks":{}}'),
  },
  {
    target: 'state',
    what: 'two times too far apart had it asked again at no time',
    input: stateOf(
      '{"listed":["n5@h"],"missing":{},"details":{},"leavingClocks":{"n5@h":0},"returnedClocks":{},"answeredClock":-1e308}',
    )
      .replace('"only"', '"dns"')
      .replace('"clock":1', '"clock":1e308'),
  },
  {
    target: 'state',
    what: 'very many nodes that came back exhausted the stack',
    input: stateOf(
      `{"listed":[],"missing":{},"details":{},"leavingClocks":{},"returnedClocks":{${numbered(130_000, (index) => `"n${index}@h":0`)}}}`,
    ),
  },
  {
    target: 'state',
    what: 'very many entries that are none exhausted the stack',
    input: stateOf(`{"listed":[${numbered(200_000, () => '1')}]}`),
  },
]
