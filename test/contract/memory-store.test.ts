import { openMemoryStore } from '../../functions/stores/memory.ts'
import type { LeaseStore } from '../../functions/stores/store.ts'
import { describeStore } from './store-contract.ts'
import { createInstance } from './store-instance.ts'

describeStore({
  name: 'memory',
  survives: false,
  async start() {
    const stores = new Map<string, Promise<LeaseStore>>()
    const memory: typeof openMemoryStore = (options) => {
      const opened = stores.get(options.topology) ?? openMemoryStore(options)
      stores.set(options.topology, opened)
      return opened
    }
    return {
      open: async (topology) => createInstance({ store: 'memory' }, { memory }, topology),
      restart: async () => stores.clear(),
      close: async () => {},
    }
  },
})
