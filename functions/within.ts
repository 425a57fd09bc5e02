/** What setTimeout can count; beyond it, it fires at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1

/**
 * Does `work` with a signal of its own, which is aborted after `ms` (see {@link isOverdue}), with `signal`, and when the work is over. Of that
 * nothing is left, while each `AbortSignal.any` leaves some of itself for good: https://github.com/nodejs/node/issues/54614
 */
export async function within<T>(
  { ms, signal }: { ms: number; signal?: AbortSignal | undefined },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const own = new AbortController()
  const follow = () => own.abort(signal?.reason)
  if (signal?.aborted) follow()
  signal?.addEventListener('abort', follow)
  const expire = () => own.abort(new DOMException(`no end within ${ms} ms`, 'TimeoutError'))
  const timer = setTimeout(expire, Math.min(ms, MAX_TIMER_MS))
  try {
    return await work(own.signal)
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', follow)
    own.abort()
  }
}

/** Whether it was a deadline that aborted it, and nobody's wish. */
export function isOverdue({ reason }: AbortSignal): boolean {
  return (reason as Error | undefined)?.name === 'TimeoutError'
}
