// Waiting for something, but not for ever.
import { setTimeout as sleep } from 'node:timers/promises'

/** Whether it comes to pass within the time; rejects when it does. No timer is left behind. */
export async function inTime(what: PromiseLike<unknown>, ms: number): Promise<boolean> {
  const over = new AbortController()
  const late = sleep(ms, false, { signal: over.signal }).catch(() => false)
  try {
    return await Promise.race([what.then(() => true), late])
  } finally {
    over.abort()
  }
}
