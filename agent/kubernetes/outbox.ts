/** What waits to be told: the newest answer, and a failure that came after it. Never more, however slowly it is taken. */
export interface Outbox<T> {
  /** An answer makes all that was before it old. It is made when it is taken. */
  answer(make: () => T): void
  fail(failure: T): void
  /** What is told, until the signal. */
  read(): AsyncGenerator<T>
}

/** An empty outbox. */
export function createOutbox<T>(signal: AbortSignal): Outbox<T> {
  let waiting: { readonly isAnswer: boolean; readonly make: () => T }[] = []
  let news = Promise.withResolvers<void>()

  async function* read(): AsyncGenerator<T> {
    const end = () => news.resolve()
    signal.addEventListener('abort', end, { once: true })
    try {
      while (!signal.aborted) {
        const next = waiting.shift()
        if (next !== undefined) yield next.make()
        else {
          await news.promise
          news = Promise.withResolvers()
        }
      }
    } finally {
      signal.removeEventListener('abort', end)
    }
  }

  return {
    answer(make) {
      waiting = [{ isAnswer: true, make }]
      news.resolve()
    },
    fail(failure) {
      waiting = [...waiting.filter(({ isAnswer }) => isAnswer), { isAnswer: false, make: () => failure }]
      news.resolve()
    },
    read,
  }
}
