// A server that restarts is waited for: whoever asks it for something of the registry has a build that is done but
// for its push.
import { setTimeout as sleep } from 'node:timers/promises'
import { asError } from '../errors.ts'
import { REGISTRY_SERVER_RETRY_MS } from '../limits.ts'

/** Nothing of the request has been sent. */
export function isUnconnected(thrown: unknown): boolean {
  const { syscall } = asError(thrown) as Error & { syscall?: unknown }
  return syscall === 'connect' || syscall === 'getaddrinfo'
}

/** Repeats the work while its errors only say that the server is away. Rejects with the last of them. */
export async function untilThere<T>(
  work: () => Promise<T>,
  isAway: (error: unknown) => boolean,
  { waitMs, signal }: { waitMs: number; signal?: AbortSignal },
): Promise<T> {
  const until = performance.now() + waitMs
  for (;;) {
    try {
      return await work()
    } catch (error) {
      if (signal?.aborted || !isAway(error) || performance.now() >= until) throw error
      await sleep(REGISTRY_SERVER_RETRY_MS, undefined, { signal }).catch(() => {})
    }
  }
}
