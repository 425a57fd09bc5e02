/** A term of the external term format, as the codec gives and takes it: list = array, binary = Uint8Array, integer = number or bigint. */
export type Term =
  | number
  | bigint
  | Uint8Array
  | Term[]
  | Map<Term, Term>
  | Atom
  | Tuple
  | Pid
  | Ref
  | Port
  | Fun
  | Export
  | BitString
  | Float
  | ImproperList
export interface Atom {
  readonly type: 'atom'
  readonly name: string
}
export interface Tuple {
  readonly type: 'tuple'
  readonly elements: readonly Term[]
}
export interface Pid {
  readonly type: 'pid'
  readonly node: string
  readonly id: number
  readonly serial: number
  readonly creation: number
}
export interface Ref {
  readonly type: 'ref'
  readonly node: string
  readonly creation: number
  readonly words: readonly number[]
}
export interface Port {
  readonly type: 'port'
  readonly node: string
  readonly id: bigint
  readonly creation: number
}
/** Kept as its bytes and given back as they were. */
export interface Fun {
  readonly type: 'fun'
  readonly bytes: Uint8Array
}
export interface Export {
  readonly type: 'export'
  readonly module: string
  readonly function: string
  readonly arity: number
}
export interface BitString {
  readonly type: 'bitstring'
  readonly bytes: Uint8Array
  readonly bits: number
}
/** A number that must stay a float on the wire, 1.0 say. */
export interface Float {
  readonly type: 'float'
  readonly value: number
}
export interface ImproperList {
  readonly type: 'improper'
  readonly elements: readonly Term[]
  readonly tail: Term
}
