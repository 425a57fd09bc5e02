// The package entry `rollcall/agent`: what it takes to keep a node in a mesh from a program of one's own.
export { type Agent, createAgent } from './agent.ts'
export { atom, binary, charlist, isAtom, isKind, isTuple, type Kind, type Term, textOf, tuple } from './beam/etf.ts'
export {
  type CallOptions,
  type ExposedFunction,
  type Handler,
  type LinkOptions,
  type MemberNode,
  type MemberOptions,
  type Modules,
  startMember,
  type Target,
  type TlsFiles,
} from './beam/member.ts'
export { type Clock, systemClock } from './clock.ts'
export { readConfig } from './config.ts'
export type { AgentFailure, Discovery } from './discover.ts'
export type { Distribution } from './distributions/distribution.ts'
export { distributionOf } from './distributions/member.ts'
export type { AgentEvent, AgentEventType, Listener } from './events.ts'
export type { OwnSource } from './strategies/own.ts'
export type { AgentSeams } from './world.ts'
