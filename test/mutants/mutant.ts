/** A fault that a tired programmer could make, and that the tests have to see. */
export interface Mutant {
  /** Where it is made, from the root of the checkout. */
  readonly file: string
  /** The text that it takes the place of; stands there exactly once. */
  readonly find: string
  readonly put: string
  /** What the code does wrong with it, in a sentence. */
  readonly wrong: string
}

/** The text with the fault in it. Throws where what it takes the place of is not found, or more than once. */
export function applyFault(text: string, { file, find, put, wrong }: Mutant): string {
  const count = text.split(find).length - 1
  if (count === 1) return text.replace(find, () => put)
  throw new Error(
    `[mutants] expected once in ${file}: ${JSON.stringify(find)}, got it ${count} times: put the fault "${wrong}" into what stands there now, in test/mutants/`,
  )
}

/** The faults of one file. */
export function inFile(file: string, faults: readonly Omit<Mutant, 'file'>[]): Mutant[] {
  return faults.map((fault) => ({ file, ...fault }))
}
