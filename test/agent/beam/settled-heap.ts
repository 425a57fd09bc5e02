import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** The bytes of the heap that are in use once garbage is gone; the collector needs no flag on the command line. */
export async function settledHeap(): Promise<number> {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  for (let round = 0; round < 3; round++) {
    await new Promise((resolve) => {
      setImmediate(resolve)
    })
    collect()
  }
  return process.memoryUsage().heapUsed
}
