import { inspect } from 'node:util'
import { atom, binary, encode, isAtom, isTuple, type Term, tuple } from './etf.ts'

/** A function that other nodes may call. What it gives or resolves with is the value there; nothing is the atom `ok`. */
export type ExposedFunction = (...args: Term[]) => Term | undefined | void | Promise<Term | undefined | void>

/** What a node lets others call, by module and function. */
export type Modules = Readonly<Record<string, Readonly<Record<string, ExposedFunction>>>>

/** What a SPAWN_REQUEST wants run. */
export interface Call {
  readonly module: string
  readonly name: string
  readonly args: readonly Term[]
  /** Of erpc, which wants the value in the reason of the end. */
  readonly reference?: Term
}

/** Reads the target of a SPAWN_REQUEST: a function, or one through erpc; undefined where it is neither. */
export function readCall(target: Term | undefined, args: Term): Call | undefined {
  const [module, name] = isTuple(target, 3) ? target.elements : []
  if (!isAtom(module) || !isAtom(name) || !Array.isArray(args)) return undefined
  if (module.name !== 'erpc') return { module: module.name, name: name.name, args }
  const [reference, ...inner] = name.name === 'execute_call' ? args : [undefined, ...args]
  const [called, called2, given] = inner
  if (!isAtom(called) || !isAtom(called2) || !Array.isArray(given)) return undefined
  return { module: called.name, name: called2.name, args: given, ...(reference !== undefined && { reference }) }
}

/** The table of the functions that others may call. */
export interface Functions {
  /** Adds to the table. The undo takes them back. */
  readonly expose: (modules: Modules) => () => void
  /** Runs one; gives the reason with which its process ends, which carries the value for erpc. Never rejects. */
  run(call: Call): Promise<Term>
}

/** An empty table: nothing is callable by default. */
export function createFunctions(): Functions {
  const functions = new Map<string, ExposedFunction>()
  return {
    expose(modules) {
      const added = Object.entries(modules).flatMap(([module, table]) =>
        Object.entries(table).map(([called, exposed]): [string, ExposedFunction] => [`${module}:${called}`, exposed]),
      )
      for (const [key, exposed] of added) functions.set(key, exposed)
      return () => {
        for (const [key, exposed] of added) if (functions.get(key) === exposed) functions.delete(key)
      }
    },

    async run(call) {
      try {
        const reason = await reasonOf(functions.get(`${call.module}:${call.name}`), call)
        // What is no term, a string say, or is nested too deep in here, must come to the caller as an error, not end this process.
        encode(reason)
        return reason
      } catch (error) {
        return call.reference === undefined ? raised(error) : tuple(call.reference, atom('error'), raised(error), [])
      }
    },
  }
}

async function reasonOf(exposed: ExposedFunction | undefined, { module, name, args, reference }: Call): Promise<Term> {
  if (exposed === undefined) {
    const undefinedThere = [tuple(atom(module), atom(name), [...args], [])]
    if (reference === undefined) return tuple(atom('undef'), undefinedThere)
    return tuple(reference, atom('error'), atom('undef'), undefinedThere)
  }
  const value = (await exposed(...args)) ?? atom('ok')
  return reference === undefined ? atom('normal') : tuple(reference, atom('return'), value)
}

/** How an error of JavaScript is told to the BEAM: `{javascript, <<"TypeError: …">>}`. */
export function raised(error: unknown): Term {
  // Anything can be thrown, and String throws at what has no text: that would end the process.
  return tuple(atom('javascript'), binary(error instanceof Error ? String(error) : inspect(error)))
}
