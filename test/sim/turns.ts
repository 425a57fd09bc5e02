/** The turns of the event loop that the code under test asks for, taken one by one between two virtual instants. */
export interface Turns {
  /** Resolves when nothing is left to run: no promise, and no turn that was asked for. */
  readonly settle: () => Promise<void>
  /** Gives the real `setImmediate` back. */
  restore(): void
}

/**
 * Takes `setImmediate` over while a simulation runs. A fixed number of real turns would do too, but too few of them change the
 * run, and too many are most of its time: this way there are exactly as many as are asked for, in the order of asking.
 */
export function takeTurns(): Turns {
  const { setImmediate: before } = globalThis
  const asked: (() => void)[] = []
  globalThis.setImmediate = ((run: () => void) => {
    asked.push(run)
  }) as unknown as typeof setImmediate

  return {
    async settle() {
      for (;;) {
        // Node comes to a tick only when every promise that can go on has gone on, and unlike a turn it costs no look at sockets:
        // those are a third of a run.
        await new Promise((resolve) => {
          process.nextTick(resolve)
        })
        if (asked.length === 0) return
        for (const run of asked.splice(0)) run()
      }
    },
    restore() {
      globalThis.setImmediate = before
    },
  }
}
