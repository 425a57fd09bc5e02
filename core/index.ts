/** The package entry `rollcall/core`: the decision, its types, and what is needed to call it. */
export { type Config, parseConfig } from './config.ts'
export { describeError, RollcallError } from './error.ts'
export { type Member, type Observation, up } from './member.ts'
export { basenameOf, hostOf, isNodeName, type NodeName, nodeName } from './node.ts'
export { type Plan, type PlanEvent, type PlanInput, type PlanTopology, plan } from './plan.ts'
export { defaultPolicy, type Policy } from './policy.ts'
export { emptyState, parseState, type State } from './state.ts'
export { type MembersDocument, revisionOf } from './wire.ts'
