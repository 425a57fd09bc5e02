import type { Log } from '../../functions/resolvers/source.ts'

/** Waits for SIGINT or SIGTERM. A second one ends the process at once, with 130: somebody does not want to wait. */
export function untilSignal(log: Log): Promise<void> {
  return new Promise((resolve) => {
    let signalled = false
    function note(signal: NodeJS.Signals): void {
      if (signalled) process.exit(130)
      signalled = true
      log.info({ signal }, 'ending; a second signal ends at once')
      resolve()
    }
    process.on('SIGINT', note)
    process.on('SIGTERM', note)
  })
}
