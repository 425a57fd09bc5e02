import type { Claim } from '../../core/lease.ts'
import { describeError } from '../../core/error.ts'
import { createObjectStore, type ObjectStorage, sweep } from '../../functions/stores/durable-object.ts'
import { createInstance } from './store-instance.ts'

/** What a test asks of a store in an object, as JSON. */
export interface StoreCall {
  topology: string
  now: number
  claim?: Claim
  release?: Pick<Claim, 'node' | 'id'>
  /** What the alarm does. */
  sweep?: true
}

interface Namespace {
  idFromName(name: string): object
  get(id: object): { fetch(url: string, init: RequestInit): Promise<Response> }
}

/** A Durable Object with a store and nothing else, in which every call has an instance of its own. */
export class StoreObject {
  readonly #storage: ObjectStorage

  constructor({ storage }: { storage: ObjectStorage }) {
    this.#storage = storage
  }

  async fetch(request: Request): Promise<Response> {
    const { topology, now, claim, release, sweep: isSweep } = (await request.json()) as StoreCall
    const stores = { 'durable-object': createObjectStore(this.#storage) }
    const instance = createInstance({ store: 'durable-object' }, stores, topology)
    try {
      if (claim) return Response.json(await instance.claim(claim, now))
      if (release) return Response.json(await instance.release(release, now))
      if (isSweep !== true) return Response.json(await instance.look(now))
      await sweep(this.#storage, now)
      const rows = this.#storage.sql.exec('SELECT node FROM leases').toArray().length
      const alarm = await this.#storage.getAlarm()
      return Response.json({ rows, alarm })
    } catch (error) {
      return Response.json(describeError(error), { status: 500 })
    }
  }

  /** Without one workerd sets no alarm; what it would do is asked for by the test. */
  async alarm(): Promise<void> {}
}

export default {
  async fetch(request: Request, { STORE }: { STORE: Namespace }): Promise<Response> {
    const body = await request.text()
    const { topology } = JSON.parse(body) as StoreCall
    return await STORE.get(STORE.idFromName(topology)).fetch('http://object.test', { method: 'POST', body })
  },
}
