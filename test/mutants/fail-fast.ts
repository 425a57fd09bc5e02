import fc from 'fast-check'

// The first counterexample says that the mutant is seen; a smaller one takes hundreds of runs.
fc.configureGlobal({ endOnFailure: true })
