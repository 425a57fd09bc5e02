import type { Target } from './target.ts'

/** Every target, by name; loaded where it runs. */
export const targets: Readonly<Record<string, () => Promise<Target>>> = {
  etf: async () => (await import('./targets/etf.ts')).etfTarget(),
  handshake: async () => (await import('./targets/handshake.ts')).handshakeTarget(),
  connected: async () => await (await import('./targets/connected.ts')).connectedTarget(),
  epmd: async () => await (await import('./targets/epmd.ts')).epmdTarget(),
  dns: async () => (await import('./targets/dns.ts')).dnsTarget(),
  gossip: async () => (await import('./targets/gossip.ts')).gossipTarget(),
  kubernetes: async () => (await import('./targets/kubernetes.ts')).kubernetesTarget(),
  http: async () => (await import('./targets/http.ts')).httpTarget(),
  config: async () => (await import('./targets/config.ts')).configTarget(),
  state: async () => (await import('./targets/state.ts')).stateTarget(),
}
