// Stands in for node:assert/strict: the package is Node's own assert, ported to where there is no Node, and its default is the loose half.
import assert from 'assert'

export default assert.strict
