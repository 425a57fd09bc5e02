// The package entry `rollcall/agent`: what it takes to keep a node in a mesh from a program of one's own.
export { type Agent, createAgent } from './agent.ts'
export { type Clock, systemClock } from './clock.ts'
export { readConfig } from './config.ts'
export type { AgentFailure, Discovery } from './discover.ts'
export type { Distribution } from './distributions/distribution.ts'
export type { AgentEvent, AgentEventType, Listener } from './events.ts'
export type { AgentSeams } from './world.ts'
